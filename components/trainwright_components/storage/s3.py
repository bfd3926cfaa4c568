"""S3 and what speaks like it (AWS_ENDPOINT_URL), by boto3, with the credentials that AWS' own tools use."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar

from trainwright_components.errors import TargetUnavailable
from trainwright_components.storage.addresses import base_name, child_name, split_bucket, split_prefix
from trainwright_components.storage.protocol import Entry, RangeReader, Storage, check_folder

NO_CREDENTIALS = "there are no AWS credentials: run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

_BUFFER_BYTES = 8 << 20


class S3Storage:
    """Objects of buckets; what stands before a slash in their keys are folders."""

    schemes: ClassVar[tuple[str, ...]] = ("s3",)
    is_read_by_tensorflow: ClassVar[bool] = False  # 2.21 has no file system for it

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.session.Session().client("s3")  # the default session is not made for several threads

    def find(self, location: str) -> Entry | None:
        """An object of that key, else a folder where objects are below it."""
        bucket, key = split_bucket(location)
        with suppress(FileNotFoundError), self._answers(location):
            if key:
                about = self._client.head_object(Bucket=bucket, Key=key)
                size = int(about["ContentLength"])
                return Entry(name=base_name(location), size_bytes=size, content_mark=about["ETag"])
        with suppress(FileNotFoundError), self._answers(location):
            bucket, prefix = split_prefix(location)
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
            return Entry(name=base_name(location), is_folder=True) if found["KeyCount"] or not key else None
        return None

    def list(self, folder: str) -> Sequence[Entry]:
        """Objects and folders below a folder."""
        bucket, prefix = split_prefix(folder)
        entries = []
        with self._answers(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            for page in pages:
                entries += [
                    Entry(
                        name=child_name(each["Key"], prefix),
                        size_bytes=int(each["Size"]),
                        content_mark=each.get("ETag", ""),
                    )
                    for each in page.get("Contents", ())
                    if each["Key"] != prefix  # the empty object that some tools make for a folder
                ]
                entries += [
                    Entry(name=child_name(each["Prefix"], prefix), is_folder=True)
                    for each in page.get("CommonPrefixes", ())
                ]
        if not entries:
            check_folder(self, folder)
        return entries

    def open(self, location: str) -> IO[bytes]:
        """An object to read, of the content that it has now."""
        bucket, key = split_bucket(location)
        with self._answers(location):
            about = self._client.head_object(Bucket=bucket, Key=key)
        return io.BufferedReader(_Object(self, location, about), _BUFFER_BYTES)

    def write(self, location: str, source: Path, *, replace: bool) -> bool:
        """Upload a file, in parts where it is large; one that may not replace another is of 5 GB at most."""
        bucket, key = split_bucket(location)
        if not key:
            raise IsADirectoryError(f"{location} is a bucket, not a file")
        with self._answers(location):
            if replace:
                self._client.upload_file(str(source), bucket, key)
                return True
            try:
                with source.open("rb") as file:
                    self._client.put_object(Bucket=bucket, Key=key, Body=file, IfNoneMatch="*")
            except self._client.exceptions.ClientError as error:
                if _status(error) != 412:
                    raise
                return False
        return True

    def remove(self, location: str) -> None:
        """Delete an object."""
        bucket, key = split_bucket(location)
        with self._answers(location):
            self._client.delete_object(Bucket=bucket, Key=key)

    @contextmanager
    def _answers(self, location: str) -> Iterator[None]:
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

        try:
            yield
        except NoCredentialsError as error:
            raise TargetUnavailable(NO_CREDENTIALS) from error
        except ParamValidationError as error:
            raise OSError(" ".join(str(error).split())) from error
        except ClientError as error:
            raise _meaning(error, location) from error
        except S3UploadFailedError as error:  # raised where the client's own error is handled
            client_error = error.__context__
            raise (_meaning(client_error, location) if client_error else OSError(str(error))) from error
        except BotoCoreError as error:
            raise TargetUnavailable(f"cannot reach {location}: {error}") from error


class _Object(RangeReader):
    def __init__(self, storage: S3Storage, location: str, about: Any) -> None:
        super().__init__()
        self._storage, self._location = storage, location
        self.size, self._tag = int(about["ContentLength"]), about["ETag"]

    def read_range(self, start: int, end: int) -> bytes:
        bucket, key = split_bucket(self._location)
        client = self._storage._client
        with self._storage._answers(self._location):
            try:
                answer = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=self._tag)
                content: bytes = answer["Body"].read()
            except client.exceptions.ClientError as error:
                if _status(error) != 412:
                    raise
                raise OSError("it was replaced while it was read") from error
        return content


def _meaning(error: Any, location: str) -> Exception:
    status = _status(error)
    reason = f"{status} {error.response['Error'].get('Message', '')}".strip()
    if status == 404:
        return FileNotFoundError(reason)
    if status >= 500 or status == 429:
        return TargetUnavailable(f"cannot reach {location}: {reason}")
    return OSError(reason)


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


_: type[Storage] = S3Storage
