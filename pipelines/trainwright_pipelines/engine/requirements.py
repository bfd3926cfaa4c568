"""The packages that a lightweight component asks for: already here, or in an environment made for them once.

The user's own environment is never changed. An environment sees this one's packages and adds what is missing.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from trainwright_components.errors import RunFailed
from trainwright_components.processes.locks import locked

_INSTALL = re.compile(r"-m pip install (?P<arguments>.*?)(?=\s*(?:&&|\n|$))")
_KFP = re.compile(r"(kfp|kfp-pipeline-spec|typing-extensions)(?![\w.-])")
_VALUE_OPTIONS = {"--index-url", "--extra-index-url", "--trusted-host", "--find-links"}
COMPLETE = ".complete"
"""The file in an environment that is whole."""


@dataclass(frozen=True, kw_only=True)
class PipInstall:
    """The packages that one component asks for, and pip's options."""

    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def wanted_packages(container: Mapping[str, Any]) -> PipInstall:
    """The packages of the pip lines at the start of a lightweight component's command; kfp itself is always here."""
    requirements: list[str] = []
    options: list[str] = []
    for part in list(container.get("command") or [])[:-2]:
        for match in _INSTALL.finditer(str(part)):
            words = iter(shlex.split(match["arguments"]))
            for word in words:
                if word in _VALUE_OPTIONS:
                    options.append(f"{word}={next(words, '')}")
                elif not word.startswith("-") and not _is_kfp(word):
                    requirements.append(word)
    return PipInstall(requirements=tuple(dict.fromkeys(requirements)), options=tuple(dict.fromkeys(options)))


def _is_kfp(requirement: str) -> bool:
    return _KFP.match(requirement) is not None or "kubeflow/pipelines" in requirement


def is_satisfied(requirement: str) -> bool:
    """Whether this environment has what a requirement asks for."""
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return False  # a path or a repository
    if parsed.marker is not None and not parsed.marker.evaluate():
        return True
    if parsed.url is not None:
        return False
    try:
        version = importlib.metadata.version(parsed.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return parsed.specifier.contains(version, prereleases=True)


def interpreter_for(container: Mapping[str, Any], environments: Path, *, log: Path) -> Path:
    """A Python with the packages of a component: this one, or that of an environment below `environments`.

    Raises:
        RunFailed: pip cannot install them; `log` says why.
    """
    wanted = wanted_packages(container)
    missing = [each for each in wanted.requirements if not is_satisfied(each)]
    if not missing:
        return Path(sys.executable)
    identity = json.dumps([sys.version, sys.prefix, wanted.requirements, wanted.options])
    folder = environments / hashlib.sha256(identity.encode()).hexdigest()[:16]
    with locked(folder.with_suffix(".lock")):  # a second step that asks for the same waits for it
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make_environment(folder, missing, wanted.options, log)
        (folder / COMPLETE).touch()  # also says when it was last used
    return folder / "bin" / "python3"


def _make_environment(folder: Path, requirements: Sequence[str], options: Sequence[str], log: Path) -> None:
    has_pip = importlib.util.find_spec("pip") is not None
    venv.create(folder, with_pip=not has_pip)
    python = str(folder / "bin" / "python3")
    pip = [sys.executable, "-m", "pip", "--python", python] if has_pip else [python, "-m", "pip"]
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # A path alone would not do: the .pth files in there make editable installs work.
    inherited = "".join(f"import site; site.addsitedir({path!r})\n" for path in dict.fromkeys(_own_packages()))
    Path(paths["purelib"], "inherited.pth").write_text(inherited)
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-input", *options, *requirements]
    with log.open("ab") as output:
        done = subprocess.run([*pip, *install], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        last = log.read_text(errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise RunFailed(f"pip cannot install what the step asks for, {' '.join(requirements)}: {last}")


def _own_packages() -> list[str]:
    paths = sysconfig.get_paths()
    return [paths["purelib"], paths["platlib"]]
