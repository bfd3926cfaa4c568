"""Google Cloud Storage by its own client, with Application Default Credentials, or with none for public buckets."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar

from trainwright_components.errors import TargetUnavailable
from trainwright_components.storage.addresses import base_name, child_name, split_bucket, split_prefix
from trainwright_components.storage.protocol import Entry, RangeReader, Storage, check_folder

NO_CREDENTIALS = (
    "there are no Google credentials: run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
)

_BUFFER_BYTES = 8 << 20
_TIMEOUT_S = 60
_FORBIDDEN = (401, 403)


class GoogleCloudStorage:
    """Objects of buckets; what stands before a slash in their names are folders."""

    schemes: ClassVar[tuple[str, ...]] = ("gs",)
    is_read_by_tensorflow: ClassVar[bool] = True

    def __init__(self) -> None:
        self._has_credentials = True

    @cached_property
    def _client(self) -> Any:
        import google.auth.exceptions
        from google.cloud import storage

        try:
            return storage.Client(project=None)  # buckets have one; that of the caller is not asked for
        except (OSError, google.auth.exceptions.DefaultCredentialsError):
            self._has_credentials = False
            return storage.Client.create_anonymous_client()

    def find(self, location: str) -> Entry | None:
        """An object of that name, else a folder where objects are below it."""
        bucket, key = split_bucket(location)
        with self._answers(location):
            if key and (blob := self._bucket(bucket).get_blob(key, timeout=_TIMEOUT_S)) is not None:
                mark = str(blob.generation)
                return Entry(name=base_name(location), size_bytes=int(blob.size), content_mark=mark)
        with suppress(FileNotFoundError), self._answers(location):
            if any(self._blobs(location, max_results=1)) or not key:
                return Entry(name=base_name(location), is_folder=True)
        return None

    def list(self, folder: str) -> Sequence[Entry]:
        """Objects and folders below a folder."""
        prefix = split_prefix(folder)[1]
        with self._answers(folder):
            listing = self._blobs(folder, delimiter="/")
            files = [
                Entry(
                    name=child_name(blob.name, prefix),
                    size_bytes=int(blob.size),
                    content_mark=str(blob.generation or ""),
                )
                for blob in listing
                if blob.name != prefix  # the empty object that some tools make for a folder
            ]
            folders = [Entry(name=child_name(name, prefix), is_folder=True) for name in listing.prefixes]
        if not files and not folders:
            check_folder(self, folder)
        return [*files, *folders]

    def open(self, location: str) -> IO[bytes]:
        """An object to read, of the generation that it has now."""
        bucket, key = split_bucket(location)
        with self._answers(location):
            blob = self._bucket(bucket).get_blob(key, timeout=_TIMEOUT_S) if key else None
        if blob is None:
            raise FileNotFoundError(f"there is no object {location}")
        return io.BufferedReader(_Object(self, location, blob), _BUFFER_BYTES)

    def write(self, location: str, source: Path, *, replace: bool) -> bool:
        """Upload a file; a retry after a lost answer finds the file there already, which is as good."""
        from google.api_core import exceptions

        bucket, key = split_bucket(location)
        if not key:
            raise IsADirectoryError(f"{location} is a bucket, not a file")
        precondition = {} if replace else {"if_generation_match": 0}
        with self._answers(location):
            blob = self._bucket(bucket).blob(key)
            try:
                blob.upload_from_filename(str(source), timeout=_TIMEOUT_S, **precondition)
            except exceptions.PreconditionFailed:
                if replace:  # it is not ours, and nothing was written
                    raise
                return False
        return True

    def remove(self, location: str) -> None:
        """Delete an object."""
        bucket, key = split_bucket(location)
        with suppress(FileNotFoundError), self._answers(location):
            self._bucket(bucket).blob(key).delete(timeout=_TIMEOUT_S)

    def _bucket(self, name: str) -> Any:
        try:
            return self._client.bucket(name)
        except (ValueError, IndexError) as error:  # IndexError: an empty name
            raise OSError(f"{name!r} is not the name of a bucket") from error

    def _blobs(self, folder: str, **options: Any) -> Any:
        bucket, prefix = split_prefix(folder)
        return self._client.list_blobs(self._bucket(bucket), prefix=prefix, timeout=_TIMEOUT_S, **options)

    @contextmanager
    def _answers(self, location: str) -> Iterator[None]:
        import google.auth.exceptions
        import requests
        from google.api_core import exceptions

        try:
            yield
        except exceptions.NotFound as error:
            raise FileNotFoundError(error.message) from error
        except exceptions.GoogleAPICallError as error:
            if error.code in _FORBIDDEN and not self._has_credentials:
                raise TargetUnavailable(NO_CREDENTIALS) from error
            if (error.code or 500) >= 500 or error.code == 429:
                raise TargetUnavailable(f"cannot reach {location}: {error.code} {error.message}") from error
            raise OSError(f"{error.code} {error.message}") from error
        except (requests.RequestException, google.auth.exceptions.GoogleAuthError, exceptions.RetryError) as error:
            raise TargetUnavailable(f"cannot reach {location}: {error}") from error


class _Object(RangeReader):
    def __init__(self, storage: GoogleCloudStorage, location: str, blob: Any) -> None:
        super().__init__()
        self._storage, self._location = storage, location
        self.size, self._generation = int(blob.size), blob.generation
        # One without properties: its address is made of its name, that of the other is what the server once said.
        self._blob = blob.bucket.blob(blob.name)

    def read_range(self, start: int, end: int) -> bytes:
        from google.api_core import exceptions

        with self._storage._answers(self._location):
            try:
                content: bytes = self._blob.download_as_bytes(
                    start=start,
                    end=end - 1,
                    if_generation_match=self._generation,
                    raw_download=True,
                    timeout=_TIMEOUT_S,
                )
            except (exceptions.PreconditionFailed, exceptions.NotFound) as error:  # not this generation any more
                raise OSError("it was replaced while it was read") from error
        return content


_: type[Storage] = GoogleCloudStorage
