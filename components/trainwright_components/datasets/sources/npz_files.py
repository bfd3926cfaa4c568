"""NPZ archives, streamed member by member: arrays whose first dimension is the row."""

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_BYTES, CHUNK_ROWS, Chunk, Column, FileFormat, SourceTraits
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import open_binary, size_bytes

_LABEL_NAMES = ("y", "label", "labels", "target", "targets")
_SPLIT_SUFFIX = re.compile(r"(?P<name>.+)_(?P<split>train|validation|valid|val|test)")
_SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class _Member:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class NpzFile:
    """Rows of one archive; names that all end in `_train`, `_test` (`_val`) say the split, as in Keras' archives."""

    format_name: ClassVar[str] = "npz"
    file_names: ClassVar[re.Pattern[str]] = re.compile(r".+\.npz")

    def __init__(self, files: Sequence[str]) -> None:
        if len(files) > 1:
            raise InvalidSetting(
                f"only one NPZ archive can be read at a time, got {len(files)}: {', '.join(files[:5])}"
            )
        (self._file,) = files
        self._parts = _arrange(self._file, _read_headers(self._file))

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        names = next(iter(self._parts.values()))
        label = next((name for name in _LABEL_NAMES if name in names), "")
        return SourceTraits(
            name=base_name(self._file),
            columns=tuple(names),
            is_split="" not in self._parts,
            size_bytes=size_bytes(self._file),
            read_from=(self._file,),
            default_label=label,
        )

    def chunks(self) -> Iterator[Chunk]:
        """All rows from the start.

        Raises:
            InvalidData: The archive is damaged.
        """
        for split, members in self._parts.items():
            try:
                yield from self._part_chunks(split, members)
            except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
                raise InvalidData(f"{self._file}: the archive is damaged: {error}") from error

    def _part_chunks(self, split: str, members: Mapping[str, str]) -> Iterator[Chunk]:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(open_binary(self._file))))
            streams = {name: stack.enter_context(archive.open(f"{member}.npy")) for name, member in members.items()}
            headers = {name: _read_header(stream) for name, stream in streams.items()}
            total = next(iter(headers.values())).shape[0]
            row_bytes = sum(header.dtype.itemsize * int(np.prod(header.shape[1:])) for header in headers.values())
            step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, row_bytes)))
            for start in range(0, total, step):
                rows = min(step, total - start)
                columns = {name: _read_rows(streams[name], headers[name], rows) for name in streams}
                yield Chunk(columns=columns, origin=self._file, first_row=start + 1, split=split, keeps_integers=True)


def _read_headers(file: str) -> dict[str, _Member]:
    try:
        with open_binary(file) as stream, zipfile.ZipFile(stream) as archive:
            headers = {}
            for entry in archive.namelist():
                with archive.open(entry) as member:
                    headers[entry.removesuffix(".npy")] = _read_header(member)
            return headers
    except zipfile.BadZipFile as error:
        raise InvalidData(f"{file} is not an NPZ archive: {error}; write it with numpy.savez") from error
    except ValueError as error:
        raise InvalidData(f"{file}: an array cannot be read: {error}") from error


def _read_header(stream: IO[bytes]) -> _Member:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects; save numbers or texts")
    if is_fortran and len(shape) > 1:
        raise ValueError("it is in Fortran order; save numpy.ascontiguousarray of it")
    if dtype.kind not in "biufUS" or (dtype.kind in "US" and len(shape) > 1):
        raise ValueError(f"it holds {dtype} of shape {shape}; save numbers, or one text per row")
    return _Member(shape=shape, dtype=dtype)


def _arrange(file: str, headers: Mapping[str, _Member]) -> dict[str, dict[str, str]]:
    """The members by split (empty when the names do not say) and by column."""
    matches = {name: _SPLIT_SUFFIX.fullmatch(name) for name in headers}
    parts: dict[str, dict[str, str]] = {}
    for name, match in matches.items():
        if match is not None and all(matches.values()):
            parts.setdefault(_SPLITS[match["split"]], {})[match["name"]] = name
        else:
            parts.setdefault("", {})[name] = name
    if not parts:
        raise InvalidData(f"{file} holds no array")
    for members in parts.values():
        lengths = {name: headers[name].shape[0] if headers[name].shape else 0 for name in members.values()}
        if len(set(lengths.values())) > 1:
            listing = ", ".join(f"{name}: {length:,}" for name, length in lengths.items())
            raise InvalidData(f"{file}: the arrays have different numbers of rows ({listing}); make them agree")
    return parts


def _read_rows(stream: IO[bytes], header: _Member, rows: int) -> Column:
    shape = (rows, *header.shape[1:])
    wanted = int(np.prod(shape)) * header.dtype.itemsize
    data = bytearray()
    while len(data) < wanted:
        if not (piece := stream.read(wanted - len(data))):
            raise EOFError("an array ends too early")
        data += piece
    values: Column = np.frombuffer(data, header.dtype).reshape(shape)
    if header.dtype.kind == "U":
        return values.astype(object)
    if header.dtype.kind == "S":
        return np.array([value.decode("utf-8", errors="replace") for value in values.tolist()], dtype=object)
    if header.dtype.kind in "biu":
        return values.astype(header.dtype.newbyteorder("="), copy=False)
    return values if header.dtype == np.float32 else values.astype(np.float64)


_: type[FileFormat] = NpzFile
