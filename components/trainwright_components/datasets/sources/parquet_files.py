"""Parquet, some rows at a time."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_ROWS, Chunk, Column, FileFormat, SourceTraits
from trainwright_components.datasets.sources.json_lines import UnevenValues, column_of
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import open_binary, size_bytes


class ParquetFiles:
    """Rows of Parquet files. Lists of numbers are arrays, dates are ISO texts, binary values are bytes."""

    format_name: ClassVar[str] = "parquet"
    file_names: ClassVar[re.Pattern[str]] = re.compile(r".+\.(parquet|pq)")

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._names = _read_names(files[0])

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        return SourceTraits(
            name=base_name(self._files[0]),
            columns=self._names,
            size_bytes=sum(size_bytes(file) for file in self._files),
            read_from=tuple(self._files),
        )

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start.

        Raises:
            InvalidData: A file is not Parquet, or a column is of a type that makes no feature.
        """
        import pyarrow as pa
        from pyarrow import parquet

        for file in self._files:
            first_row = 1
            try:
                with open_binary(file) as stream:
                    for batch in parquet.ParquetFile(stream).iter_batches(batch_size=CHUNK_ROWS, use_threads=False):
                        columns = {
                            name: _column(array, f"{file}: column {name!r}")
                            for name, array in zip(batch.schema.names, batch.columns, strict=True)
                        }
                        yield Chunk(columns=columns, origin=file, first_row=first_row)
                        first_row += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise _translated(error, file, first_row - 1) from error


def _read_names(file: str) -> tuple[str, ...]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_binary(file) as stream:
            return tuple(parquet.ParquetFile(stream).schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise _translated(error, file, 0) from error


def _translated(error: Exception, file: str, row: int) -> InvalidData:
    return InvalidData(f"{file}, after row {row}: cannot be read as Parquet: {error}; write the file again")


def _column(array: Any, where: str) -> Column:
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_integer(kind) and not array.null_count:
        whole: Column = array.to_numpy(zero_copy_only=False)
        return whole if whole.dtype == np.uint64 else whole.astype(np.int64)
    if pa.types.is_boolean(kind) and not array.null_count:
        return np.asarray(array.to_numpy(zero_copy_only=False), bool)
    if _has_long_integers(array):
        return np.asarray(array.cast(pa.string()).to_numpy(zero_copy_only=False), object)
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
    ):
        return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    if pa.types.is_temporal(kind):
        array = array.cast(pa.string())
        kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False), object)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return np.array(array.to_pylist(), dtype=object)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        try:
            return column_of(array.to_pylist())
        except UnevenValues as error:
            raise InvalidData(f"{where} {error}") from error
    if pa.types.is_null(kind):
        return np.full(len(array), None, dtype=object)
    raise InvalidData(f"{where} has the type {kind}, which makes no feature; exclude it or convert it")


def _has_long_integers(array: Any) -> bool:
    """Whether a float would lose digits of an integer."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(array.type) and not (pa.types.is_decimal(array.type) and array.type.scale == 0):
        return False
    limits = pc.min_max(array).as_py()
    return limits["min"] is not None and max(-limits["min"], limits["max"]) > 2**53


_: type[FileFormat] = ParquetFiles
