"""Wheels that tests install: a package of one module that says its version, and a program of the same name."""

import py_compile
import sys
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path, name: str, version: str, *, needs: Sequence[str] = (), extras: Mapping[str, str] | None = None
) -> Path:
    """A wheel in `folder`; `extras` are requirements by extra."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {x}" for x in needs)]
    for extra, needed in (extras or {}).items():
        lines += [f"Provides-Extra: {extra}", f'Requires-Dist: {needed}; extra == "{extra}"']
    files = {
        f"{name}.py": f"VERSION = {version!r}\n\n\ndef main():\n    print({name!r}, VERSION)\n",
        f"{info}/METADATA": "\n".join([*lines, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-program = {name}:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for each, content in files.items():
            wheel.writestr(each, content)
    return path


def make_throwaway(folder: Path, *wheels: Path, hides: Sequence[str] = ()) -> Path:
    """A Python like this one that nobody needs, with the packages of `wheels` and the sight of this one's, but some."""
    venv.create(folder, symlinks=True)
    packages = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    here = [path for path in sys.path if path.endswith("site-packages")]
    for path in here if hides else []:
        seen = folder / "seen"
        seen.mkdir(exist_ok=True)
        for each in Path(path).iterdir():
            if each.name.partition("-")[0] not in hides:
                (seen / each.name).symlink_to(each)
        here = [str(seen)]
    (packages / "theirs.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    python = folder / "bin/python3"
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as content:
            content.extractall(packages)
        name = wheel.name.partition("-")[0]
        py_compile.compile(str(packages / f"{name}.py"))  # as pip does
        program = folder / f"bin/{name}-program"
        program.write_text(f"#!{python}\nfrom {name} import main\n\nmain()\n")
        program.chmod(0o755)
    return python


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its content, and every link with its target."""
    found = {}
    for each in sorted(folder.rglob("*")):
        name = str(each.relative_to(folder))
        if each.is_symlink():
            found[name] = bytes(each.readlink())
        elif each.is_file():
            found[name] = each.read_bytes()
    return found
