"""Import a file of the user's as it is now."""

import importlib.machinery
import importlib.util
from pathlib import Path
from types import CodeType


class _FromSource(importlib.machinery.SourceFileLoader):
    """Reads no bytecode of earlier imports, and leaves none.

    Python takes a .pyc for that of a source of the same size and the same second of its last change
    (docs.python.org/3/reference/import.html, "Cached bytecode invalidation"): of an 8 that becomes a 9 in a script it
    would run the 8.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def spec_from_source(
    name: str, file: Path, *, search: list[str] | None = None
) -> importlib.machinery.ModuleSpec | None:
    """The spec of `file` as the module `name`, a package that has its modules in `search`; None if it is not Python."""
    if file.suffix not in importlib.machinery.SOURCE_SUFFIXES:
        return None
    loader = _FromSource(name, str(file))
    return importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=search)
