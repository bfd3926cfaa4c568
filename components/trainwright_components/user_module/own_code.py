"""What a module's code says, without how it is written: comments, docstrings and formatting make no difference.

Statements are found by the names that they define, over all files of the module and the user's own modules that it
imports, so that a part of the code can be told apart from the rest: what some names reach. A name counts wherever it
stands, so that the part is rather too large than too small.
"""

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from trainwright_components.files import content_digest, files_below
from trainwright_components.user_module.module import ModelModule

_ALWAYS = ""  # the name of statements that define none, and run on import
_SETTINGS = {"DEFAULT_PARAMS", "SEARCH_SPACE"}  # known by their values
_OF_PYTHON = Path(os.__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}
_NO_EFFECT = (".md", ".rst")


@dataclass(frozen=True)
class OwnCode:
    """The code of a module.

    Args:
        statements: Each top-level statement with the names that it defines.
        other_files: Names and digests of files of the module that are not Python.
    """

    statements: tuple[tuple[frozenset[str], ast.stmt], ...]
    other_files: tuple[str, ...] = ()

    @classmethod
    def of(cls, module: ModelModule) -> "OwnCode":
        """The code of the file or the folder that `module` was loaded from, and what it imports of the user's own."""
        location = module.location
        files = sorted(files_below(location)) if location.is_dir() else [location]
        trees: dict[Path, ast.Module | None] = {}
        waiting = [file for file in files if file.suffix == ".py"]
        while waiting:
            file = waiting.pop()
            tree = trees[file] = _parsed(file)
            waiting += [] if tree is None else [each for each in _imported(tree) if each not in trees]
        others = [file for file in files if trees.get(file) is None and file.suffix not in _NO_EFFECT]
        told = [statement for tree in trees.values() if tree is not None for statement in _told(tree)]
        return cls(
            tuple((_defined(statement), statement) for statement in told),
            tuple(f"{file.relative_to(location).as_posix()} {content_digest(file)}" for file in others),
        )

    @cached_property
    def text(self) -> str:
        """All of it."""
        return _text(statement for _, statement in self.statements)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of everything that the code defines: at the top, and functions and classes inside of others."""
        return frozenset().union(*(names for names, _ in self.statements)) - {_ALWAYS}

    def reached_from(self, names: Iterable[str]) -> "OwnCode":
        """The part that `names` can reach, and what runs on import."""
        known: set[str] = set()
        waiting = {_ALWAYS, *names} - _SETTINGS
        reached: list[int] = []
        while waiting:
            new = [n for n, (own, _) in enumerate(self.statements) if own & waiting and n not in reached]
            reached += new
            known |= waiting
            waiting = set().union(*(_mentioned(self.statements[n][1]) for n in new)) - known - _SETTINGS
        return OwnCode(tuple(self.statements[n] for n in sorted(reached)), self.other_files)

    def mentions(self, name: str) -> bool:
        """Whether `name` stands anywhere in the code, also as a string."""
        return any(name in _mentioned(statement) for _, statement in self.statements)


def _parsed(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return None  # beside the module, and never imported


def _told(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a file without docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            is_docstring = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[is_docstring:] or [ast.Pass()]
    yield from tree.body


def _defined(statement: ast.stmt) -> frozenset[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        inside = (one for one in ast.walk(statement) if isinstance(one, ast.ClassDef | ast.FunctionDef))
        return frozenset({statement.name, *(one.name for one in inside)})
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return frozenset((alias.asname or alias.name).split(".")[0] for alias in statement.names)
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [one for target in targets for one in ast.walk(target)]
        if all(isinstance(one, ast.Name | ast.Tuple | ast.List | ast.Store) for one in names):
            return frozenset(one.id for one in names if isinstance(one, ast.Name))
    return frozenset({_ALWAYS})


def _mentioned(statement: ast.stmt) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def _text(statements: Iterable[ast.stmt]) -> str:
    return "\n".join(sorted(map(ast.dump, statements)))


def _imported(tree: ast.Module) -> Iterator[Path]:
    """Files of modules that a file imports, but those of Python, of installed packages and of this one."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            module = sys.modules.get(name)
            if isinstance(module, ModuleType) and not name.startswith("trainwright"):
                yield from _own_file(module)


def _own_file(module: ModuleType) -> Iterator[Path]:
    """Its file; none of an installed one: in the environment of a step, packages lie elsewhere than its own do."""
    file = Path(getattr(module, "__file__", None) or "")
    is_installed = not _INSTALLED.isdisjoint(file.parts) or file.is_relative_to(_OF_PYTHON)
    if file.suffix == ".py" and not is_installed:
        yield file.resolve()
