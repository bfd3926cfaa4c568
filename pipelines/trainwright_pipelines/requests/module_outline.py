"""Look at a model module without running it, so that a slip is told before the first step."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidModule
from trainwright_components.hints import did_you_mean
from trainwright_components.user_module.conventions import ENTRY_FILES, merge_params


@dataclass(frozen=True, kw_only=True)
class ModuleOutline:
    """What the source text alone says.

    Args:
        names: What is defined or imported at the top level.
        default_params: `DEFAULT_PARAMS` when it is written as a literal.
        search_space: `SEARCH_SPACE` likewise.
        is_complete: Whether nothing can define further names: no `import *`, no definition inside a statement.
    """

    file: Path
    names: frozenset[str]
    default_params: Mapping[str, Any] | None
    search_space: Mapping[str, Any] | None
    is_complete: bool


def outline_module(location: Path) -> ModuleOutline:
    """Parse the module's own file.

    Raises:
        InvalidModule: It is not Python, or a folder without an entry file.
    """
    file = _entry_file(location)
    try:
        body = ast.parse(file.read_text(encoding="utf-8"), filename=str(file)).body
    except (SyntaxError, UnicodeDecodeError) as error:
        place = f", line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else f": {error}"
        raise InvalidModule(f"{file}{place}") from error
    names: set[str] = set()
    is_complete = True
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            is_complete &= all(alias.name != "*" for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        elif not isinstance(node, ast.Expr):
            is_complete = False
    return ModuleOutline(
        file=file,
        names=frozenset(names),
        default_params=_literal_mapping(body, "DEFAULT_PARAMS"),
        search_space=_literal_mapping(body, "SEARCH_SPACE"),
        is_complete=is_complete,
    )


def check_module_text(location: Path, params: Mapping[str, Any]) -> ModuleOutline:
    """Refuse a module without `build_model`, and hyperparameters that it does not take; what the text says.

    Raises:
        InvalidModule: It cannot define `build_model`.
        InvalidSetting: `params` has a name that DEFAULT_PARAMS lacks, or a value of another type.
    """
    outline = outline_module(location)
    if outline.is_complete and not {"build_model", "train"} & outline.names:
        hint = did_you_mean("build_model", outline.names, list_at_most=0)
        raise InvalidModule(f"{outline.file} has no build_model(context){hint}")
    if outline.default_params is not None:
        merge_params(outline.default_params, params, owner=location.name)
    return outline


def _entry_file(location: Path) -> Path:
    if location.is_file():
        return location
    for name in ENTRY_FILES:
        if (location / name).is_file():
            return location / name
    raise InvalidModule(f"{location} is not a model module: it has neither {' nor '.join(ENTRY_FILES)}")


def _literal_mapping(body: list[ast.stmt], name: str) -> Mapping[str, Any] | None:
    """The last literal assignment to `name`; None when there is none or it is computed."""
    found: Mapping[str, Any] | None = None
    for node in body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                return None
            found = value if isinstance(value, dict) else None
    return found
