"""TFRecord files of tf.Example: what the features are is found from the first records, then held against all."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_BYTES, Chunk, Column, FileFormat, SourceTraits
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import local_copy, size_bytes, storage_of

_PEEK_RECORDS = 64
_MAX_CHUNK_RECORDS = 1_024


class TfRecordFiles:
    """Rows of TFRecord files; `.gz` files are unpacked on the way."""

    format_name: ClassVar[str] = "tfrecord"
    file_names: ClassVar[re.Pattern[str]] = re.compile(r".*(tfrecord|tfrecords)([.-].*)?")

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._examples = _peek(files[0])
        self._spec = _infer_spec(files[0], self._examples)

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        return SourceTraits(
            name=base_name(self._files[0]),
            columns=tuple(self._spec),
            size_bytes=sum(size_bytes(file) for file in self._files),
            read_from=tuple(self._files),
            files=tuple(self._files) if all(map(_can_stay, self._files)) else (),
        )

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start.

        Raises:
            InvalidData: A file is damaged, or a record does not have the features of the first ones.
        """
        import tensorflow as tf

        average = sum(example.ByteSize() for example in self._examples) // len(self._examples)
        records = max(1, min(_MAX_CHUNK_RECORDS, CHUNK_BYTES // max(1, average)))
        for file in self._files:
            first_row = 1
            try:
                with _opened(file) as opened:
                    for batch in opened.batch(records):
                        parsed = tf.io.parse_example(batch, self._spec)
                        columns = {name: _column(values.numpy()) for name, values in parsed.items()}
                        yield Chunk(columns=columns, origin=file, first_row=first_row, keeps_integers=True)
                        first_row += int(batch.shape[0])
            except tf.errors.OpError as error:
                raise _translated(error, file, first_row - 1) from error


def _can_stay(file: str) -> bool:
    """Whether training can read a file where it is."""
    return storage_of(file).is_read_by_tensorflow and not file.endswith(".gz")


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    import tensorflow as tf

    compression = "GZIP" if file.endswith(".gz") else ""
    if storage_of(file).is_read_by_tensorflow:
        yield tf.data.TFRecordDataset(file, compression_type=compression)
        return
    with local_copy(file) as copy:
        yield tf.data.TFRecordDataset(str(copy), compression_type=compression)


def _peek(file: str) -> list[Any]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        with _opened(file) as opened:
            records = list(opened.take(_PEEK_RECORDS).as_numpy_iterator())
        examples = [tf.train.Example.FromString(record) for record in records]
    except tf.errors.OpError as error:
        raise _translated(error, file, 0) from error
    except DecodeError as error:
        raise InvalidData(f"{file}: the records are not tf.Example; convert them first") from error
    if not any(example.features.feature for example in examples):
        raise InvalidData(f"{file} holds no record with a feature")
    return examples


def _infer_spec(file: str, examples: Sequence[Any]) -> dict[str, Any]:
    kinds: dict[str, str] = {}
    lengths: dict[str, set[int]] = {}
    for example in examples:
        for name, feature in example.features.feature.items():
            if (kind := feature.WhichOneof("kind")) is None:
                continue
            if kinds.setdefault(name, kind) != kind:
                raise InvalidData(f"{file}: feature {name!r} is {kinds[name]} in one record and {kind} in another")
            lengths.setdefault(name, set()).add(len(getattr(feature, kind).value))
    return {name: _fixed(file, name, kind, lengths[name] - {0}) for name, kind in sorted(kinds.items())}


def _fixed(file: str, name: str, kind: str, lengths: set[int]) -> Any:
    import tensorflow as tf

    if len(lengths) != 1:
        raise InvalidData(
            f"{file}: feature {name!r} has {min(lengths, default=0)} to {max(lengths, default=0)} values per record; "
            "write one number of values (pad them)"
        )
    if (length := lengths.pop()) > 1 and kind == "bytes_list":
        raise InvalidData(f"{file}: feature {name!r} has {length} texts per record; write each as a feature of its own")
    shape = () if length == 1 else (length,)
    dtype, missing = {
        "float_list": (tf.float32, np.nan),
        "bytes_list": (tf.string, b""),
        "int64_list": (tf.int64, None),
    }[kind]
    default = None if missing is None else np.full(shape, missing).tolist()
    return tf.io.FixedLenFeature(shape, dtype, default_value=default)


def _column(values: Column) -> Column:
    if values.dtype != object:
        return values
    content = values.tolist()
    if any(_looks_encoded(value) for value in content[:_PEEK_RECORDS]):
        return values
    try:
        return np.array([value.decode("utf-8") for value in content], dtype=object)
    except (UnicodeDecodeError, AttributeError):
        return values


def _looks_encoded(value: bytes) -> bool:
    return isinstance(value, bytes) and value[:3] in (b"\xff\xd8\xff", b"\x89PN", b"GIF")


def _translated(error: Any, file: str, row: int) -> InvalidData:
    reason = re.sub(r"^\{\{.*?\}\} | \[Op:.*", "", str(error.message).splitlines()[0])
    if match := re.search(
        r"(?:Key|Feature): (?P<name>.+?)(?:,| \() *(?:Index: (?P<index>\d+)\. *)?(?P<reason>.*)", reason
    ):
        row += 1 + int(match["index"] or 0)
        return InvalidData(
            f"{file}, row {row}: feature {match['name']!r} is not what it is in the first records: {match['reason']}"
        )
    return InvalidData(f"{file}, after row {row}: the file is damaged: {reason}; write it again")


_: type[FileFormat] = TfRecordFiles
