"""Turn names and relative paths among a pipeline's parameters into absolute paths, before anything starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import check_local
from trainwright_components.hints import did_you_mean
from trainwright_components.storage.addresses import is_remote, plain
from trainwright_pipelines.requests.groups import GROUPS, settings_of

EXAMPLES = Path(__file__).parents[1] / "examples"
# As datasets.sources.bundled has them, which takes most of a second to import; a test compares the two.
BUNDLED_SOURCES = ("digits", "breast_cancer", "wine", "iris", "diabetes")

_REMOTE_ENDINGS = tuple(
    word + plural
    for word in ("uri", "url", "path", "location", "address", "file", "folder", "dir", "directory", "bucket")
    for plural in ("", "s")
)
_RELATIVE = ("./", "../", "~/")
_OUTPUT_ENDINGS = ("base_path",)


def shipped_modules() -> dict[str, Path]:
    """The example model modules by name."""
    return {file.stem: file for file in sorted(EXAMPLES.glob("*.py")) if not file.stem.startswith("_")}


def absolute_locations(values: Mapping[str, Any], *, base: Path, must_exist: bool) -> dict[str, Any]:
    """`values` with the paths among them made absolute; relative ones start at `base`.

    A parameter is taken for a path by its name (`module`, `source`, `model`, `..._file`, `..._base_path`), also inside
    mappings, and under any other name, also in lists, if it is written as one (`./x`, `../x`, `~/x`) and is there. A
    bundled data set, a URI, a dotted module's name, a model's name and all other texts stay as they are.

    Raises:
        InvalidSetting: `must_exist`, and an input does not.
    """
    return {name: _absolute((name,), value, base, must_exist=must_exist) for name, value in values.items()}


def is_location_name(name: str) -> bool:
    """Whether a parameter of this name is likely to say where something lies, itself or within a group."""
    if name in GROUPS:
        return any(is_location_name(setting.name) for setting in settings_of(name))
    return name.endswith((*_OUTPUT_ENDINGS, *_REMOTE_ENDINGS, *(ending for endings in _FINDERS for ending in endings)))


def find_module(text: str, *, base: Path) -> str:
    """The absolute path of a model module, or `text` itself when it is a URI or may be an importable name.

    Raises:
        InvalidSetting: There is no such file, folder or shipped example.
    """
    shipped = shipped_modules()
    if text.replace("-", "_") in shipped:
        return str(shipped[text.replace("-", "_")])
    path = _place(text, base)
    if _exists(path):
        return str(path.resolve())
    if is_remote(text) or (_is_dotted_name(text) and "." in text and not text.endswith(".py")):
        return text
    nearby = [each.name for each in path.parent.glob("*") if each.is_dir() or each.suffix == ".py"]
    known = [*shipped, *nearby] if "/" not in text else nearby
    raise InvalidSetting(
        f"no model module {text!r}: neither a file or folder at {path}, nor a shipped example"
        f"{did_you_mean(path.name if '/' in text else text, known)}"
    )


def find_source(text: str, *, base: Path) -> str:
    """The absolute path of data, or `text` itself when it names a bundled set, a URI or a pattern.

    Raises:
        InvalidSetting: There is no such file or folder.
    """
    if text in BUNDLED_SOURCES or is_remote(plain(text)):
        return text
    path = _place(plain(text), base)
    if _exists(path):
        return str(path.resolve())
    if any(sign in text for sign in "*?["):
        return str(path.absolute())
    nearby = [each.name for each in path.parent.glob("*")] if path.parent.is_dir() else []
    raise InvalidSetting(
        f"no data at {path}{did_you_mean(path.name, nearby, list_at_most=0) or did_you_mean(text, BUNDLED_SOURCES)}"
    )


def find_model(text: str, *, base: Path) -> str:
    """The absolute path of a model's folder written with a slash, or `text` itself: a URI, or a name to look up."""
    if "/" not in text or is_remote(text):
        return text
    path = _place(text, base)
    return str(path.resolve()) if _exists(path) and path.is_dir() else text


def _find_written(text: str, *, base: Path) -> str:
    """The absolute path of what is written as a relative one and is there; `text` itself otherwise."""
    if not text.startswith(_RELATIVE):
        return text
    path = _place(text, base)
    return str(path.resolve()) if _exists(path) else text


def _absolute(path: tuple[str, ...], value: Any, base: Path, *, must_exist: bool) -> Any:
    if isinstance(value, Mapping):
        return {name: _absolute((*path, str(name)), each, base, must_exist=must_exist) for name, each in value.items()}
    if isinstance(value, list):
        return [_absolute((*path, ""), each, base, must_exist=must_exist) for each in value]
    if not isinstance(value, str) or not value:
        return value
    name = path[-1]
    if name.endswith(_OUTPUT_ENDINGS):
        if not is_remote(value):
            check_local(value, name=".".join(path))
        return value if is_remote(value) else str(_place(value, base).absolute())
    find = next((each for endings, each in _FINDERS.items() if name.endswith(endings)), _find_written)
    try:
        return find(value, base=base)
    except InvalidSetting:
        if must_exist:
            raise
        return value


def _place(text: str, base: Path) -> Path:
    if "\0" in text:
        raise InvalidSetting(f"a path has no null character, got {text!r}")
    try:
        return base / Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidSetting(f"there is no home folder for the ~ of {text!r}") from error


def _exists(path: Path) -> bool:
    try:
        if path.exists():
            return True
        leads_nowhere = path.is_symlink()
    except OSError as error:
        raise InvalidSetting(f"cannot look at {path}: {error.strerror}") from error
    if leads_nowhere:
        raise InvalidSetting(f"{path} is a link to {path.readlink()}, where nothing is")
    return False


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


_FINDERS = {
    ("module", "_module"): find_module,
    ("source", "_source", "_file", "_folder", "expected_schema"): find_source,
    ("model", "_model"): find_model,
}
