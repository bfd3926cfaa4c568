"""Find the reader for a source: by the name of a bundled set, by the format named, or by the look of the path."""

from collections.abc import Mapping, Sequence

from trainwright_components.datasets.chunks import FileFormat, Source
from trainwright_components.datasets.schema import SCHEMA_FILE
from trainwright_components.datasets.sources.bundled import BUNDLED_NAMES, BundledSet
from trainwright_components.datasets.sources.csv_files import CsvFiles
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.datasets.sources.image_folder import IMAGE_SUFFIXES, ImageFolder
from trainwright_components.datasets.sources.json_lines import JsonLines
from trainwright_components.datasets.sources.npz_files import NpzFile
from trainwright_components.datasets.sources.parquet_files import ParquetFiles
from trainwright_components.datasets.sources.reading import KnownTable
from trainwright_components.datasets.sources.tfrecord_files import TfRecordFiles
from trainwright_components.datasets.sources.values import ValueOptions
from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.storage.addresses import base_name, is_remote, join, normalize
from trainwright_components.storage.locations import exists, expand, is_folder, list_folder

_FILE_FORMATS: Mapping[str, type[FileFormat]] = {
    each.format_name: each for each in (CsvFiles, JsonLines, ParquetFiles, TfRecordFiles, NpzFile)
}
FORMATS = (*_FILE_FORMATS, "images")


def check_format(format_name: str, *, setting: str) -> None:
    """Raise `InvalidSetting` for a format that there is not; empty is none."""
    if format_name and format_name not in FORMATS:
        raise InvalidSetting(f"{setting} {format_name!r} is not known{did_you_mean(format_name, FORMATS)}")


def open_source(
    location: str,
    *,
    format_name: str = "",
    setting: str = "data.format",
    dialect: DialectOptions | None = None,
    values: ValueOptions | None = None,
    known: KnownTable | None = None,
) -> Source:
    """The rows at `location`.

    Args:
        location: A bundled set's name, a file, a pattern such as `data/*.csv`, or a folder of files or of images.
        format_name: One of `FORMATS`; found from the names of the files when empty.
        setting: Where a person says the format, for messages.
        dialect: What a person says about how text files are written.
        values: What a person says about how their values are written.
        known: What is known about them from elsewhere.

    Raises:
        InvalidSetting: Nothing is there, or its format is not known.
        InvalidData: It is not what its name says.
    """
    check_format(format_name, setting=setting)
    if location in BUNDLED_NAMES:
        return BundledSet(location)
    if not location:
        raise InvalidSetting(f"source is empty; give a path or one of {', '.join(BUNDLED_NAMES)}")
    location = normalize(location)
    _check_bundled_typo(location)
    files = expand(location)
    if files == [location] and is_folder(location):
        if format_name == "images" or (not format_name and not _data_files(location)):
            return ImageFolder(location)
        files = _files_of_folder(location, format_name)
    elif format_name == "images":
        raise InvalidSetting(f"{setting} images needs a folder, but {location!r} is a file")
    name = format_name or _common_format(files, setting)
    return CsvFiles(files, dialect, values, known) if name == CsvFiles.format_name else _FILE_FORMATS[name](files)


def _files_of_folder(folder: str, format_name: str) -> list[str]:
    if exists(join(folder, SCHEMA_FILE)):
        raise InvalidSetting(f"{folder!r} is a prepared dataset already; give the data that it was made of")
    files = [path for path in list_folder(folder) if not is_folder(path)] if format_name else _data_files(folder)
    if not files:
        raise InvalidSetting(f"the folder {folder!r} holds no file")
    return files


def _data_files(folder: str) -> list[str]:
    return [path for path in list_folder(folder) if format_of(path) and not is_folder(path)]


def format_of(path: str) -> str:
    """The format that the name of a file tells; empty where it tells none."""
    name = base_name(path).lower()
    return next((known for known, kind in _FILE_FORMATS.items() if kind.file_names.fullmatch(name)), "")


def _common_format(files: Sequence[str], setting: str) -> str:
    names = {format_of(path) for path in files}
    if len(names) > 1:
        raise InvalidSetting(
            f"{files[0]!r} and the {len(files) - 1} files with it are of different formats; say {setting}"
        )
    if name := names.pop():
        return name
    if all(CsvFiles.other_names.fullmatch(base_name(file).lower()) for file in files):
        return CsvFiles.format_name
    if files[0].lower().endswith(IMAGE_SUFFIXES):
        raise InvalidSetting(f"{files[0]!r} is one image; give the folder that holds a folder per class")
    raise InvalidSetting(f"the format of {files[0]!r} is not known from its name; say {setting}: {', '.join(FORMATS)}")


def _check_bundled_typo(location: str) -> None:
    if is_remote(location) or "/" in location or "." in location or exists(location):
        return
    hint = did_you_mean(location, BUNDLED_NAMES)
    raise InvalidSetting(f"source {location!r} is neither a file nor a bundled set{hint}")
