"""The packages that a lightweight component asks for, installed once into a folder and reused by later steps.

What the product lacks is added to what it has; where what a component asks for contradicts what the product has, the
product's packages are hidden from it, so that no half of them meets the other's versions.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from trainwright_components.errors import RunFailed
from trainwright_components.processes.locks import locked
from trainwright_components.processes.own_python import own_paths
from trainwright_pipelines.engine.cache import NotCacheable, digest_of_path
from trainwright_pipelines.engine.own_python import (
    COMPLETE,
    Packages,
    bundled_pip,
    free_programs,
    make_bridge,
    product_packages,
    write_environment,
)
from trainwright_pipelines.engine.requirements import (
    CONSTRAINT,
    PipInstall,
    local_place,
    parse_requirement,
    place_of,
    wanted_packages,
)

_SHOWN_LINES = 2
_GIT_TIMEOUT_S = 60
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_HASH = re.compile(r"[#&](?:md5|sha\d+)=")
_UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|ConnectionResetError"
)
_UNFINISHED, _BRIDGE, _TEMPORARY = ".new-", "bridge", "tmp"
_INTO_THE_ENVIRONMENT = {"PIP_USER": "0", "PIP_TARGET": "", "PIP_PREFIX": "", "PIP_ROOT": "", "PIP_PYTHON": ""}
_SAYS_HOW = ("PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_INPUT", "PIP_QUIET")
"""Variables of pip that change nothing in what it installs."""

RunCommand = Callable[[Sequence[str], Mapping[str, str], Path], int]
"""Runs a command with variables added and its output appended to a log, no longer than this process lives."""


@dataclass(frozen=True, kw_only=True)
class InstalledPackages(Packages):
    """A folder with the packages that a component asks for."""

    versions: Mapping[str, str]
    took_s: float
    is_reused: bool = False

    @property
    def told(self) -> str:
        """What a person reads of it."""
        listed = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        how = "reused from an earlier step" if self.is_reused else f"installed in {self.took_s:.1f} s"
        return f"packages {how}: {listed}{'' if self.sees_product else self._why_alone}"

    @property
    def _why_alone(self) -> str:
        others = [
            f"{name} {there}"
            for name, version in self.versions.items()
            if (there := _version_here(name)) != version and there
        ]
        why = f"this environment has {', '.join(others)}" if others else "this environment contradicts them"
        return f"; {why}, so that all of its packages are hidden from the step"


def packages_for(
    container: Mapping[str, Any],
    environments: Path,
    *,
    own: Path,
    env: Mapping[str, str],
    log: Path,
    run: RunCommand,
    check: Callable[[], object] | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> InstalledPackages | None:
    """The packages of a component that the product lacks, or contradicts; None where there are none.

    Args:
        container: As KFP's PipelineContainerSpec has it.
        environments: Where folders of packages are kept.
        own: A folder of the step's own, for what may be another thing the next time.
        env: The variables of the step, which may say where pip finds packages.
        log: Where the installation is told.
        run: Runs pip.
        tell: Given what is installed, before it is.
        check: Called while another step installs the same; may raise what ends the waiting.

    Raises:
        RunFailed: pip cannot install them; `log` says why.
    """
    wanted = wanted_packages(container)
    if not wanted.missing:
        return None
    try:
        identity = identity_of(wanted, {**os.environ, **env})
    except (NotCacheable, OSError):
        return _tell(_install(own, wanted, env=env, log=log, run=run, tell=tell), log)
    folder = environments / hashlib.sha256(identity.encode()).hexdigest()[:16]
    with locked(folder.with_suffix(".lock"), check=check):  # a second step that asks for the same waits for it
        found = _read(folder)
        if found is None:
            found = _install(folder, wanted, env=env, log=log, run=run, tell=tell)
        (folder / COMPLETE).touch()  # also says when it was last used
    return _tell(found, log)


def _tell(found: InstalledPackages, log: Path) -> InstalledPackages:
    with log.open("a") as output:
        output.write(f"{found.told}\n")
    return found


def _read(folder: Path) -> InstalledPackages | None:
    try:
        said = json.loads((folder / COMPLETE).read_bytes())
        return InstalledPackages(folder=folder, is_reused=True, **said)
    except (FileNotFoundError, ValueError, TypeError):  # none, only half, or made by an older release
        return None


def identity_of(wanted: PipInstall, env: Mapping[str, str]) -> str:
    """All that decides what pip installs in a step with the variables `env`, but for what an index has by then.

    Raises:
        NotCacheable: It may be another thing the next time, and nobody can tell.
    """
    settings = {
        name: value for name, value in env.items() if name.startswith("PIP_") and value and name not in _SAYS_HOW
    }
    files = [*settings.get("PIP_CONSTRAINT", "").split(), *settings.get("PIP_REQUIREMENT", "").split()]
    files += [each.partition("=")[2] for each in wanted.options if each.startswith(CONSTRAINT)]
    content = [
        [sys.version, sysconfig.get_platform(), sys.prefix, _installed_here()],
        sorted([each, _content(each)] for each in wanted.requirements),
        wanted.options,
        settings,
        [[str(each), _file(each)] for each in [*map(Path, files), *_configuration_files(env)]],
    ]
    return json.dumps(content, sort_keys=True)


def _installed_here() -> list[str]:
    """The product's packages with their versions, as their folders are called."""
    return sorted({each.name for folder in sys.path if Path(folder).is_dir() for each in Path(folder).glob("*-info")})


def _configuration_files(env: Mapping[str, str]) -> list[Path]:
    """Where pip reads its settings (pip.pypa.io/en/stable/topics/configuration)."""
    home = Path(env.get("HOME", ""))
    user = [home / ".pip/pip.conf", Path(env.get("XDG_CONFIG_HOME") or home / ".config", "pip/pip.conf")]
    places = [Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"), *user, Path(sys.prefix, "pip.conf")]
    return [each for each in [*places, Path(env.get("PIP_CONFIG_FILE", ""))] if each.is_file()]


def _file(path: Path) -> str:
    return digest_of_path(path) if path.exists() else ""


def _content(requirement: str) -> str:
    """What stands for the content of a requirement that only names a place; nothing for a package of an index."""
    place = place_of(requirement)
    if not place:
        return ""
    if (path := local_place(requirement)) is not None:
        return digest_of_path(path)
    if place.startswith("git+"):
        return _revision(place)
    if (fixed := _HASH.search(place)) is not None:
        return place[fixed.start() :]
    raise NotCacheable(requirement)


def _revision(address: str) -> str:
    """The commit behind `git+URL@REF`."""
    url = address.removeprefix("git+").partition("#")[0]
    start, at, reference = url.rpartition("@")
    if not at or not urlsplit(start).path:  # what is before it is a user's name
        start, reference = url, "HEAD"
    if _COMMIT.fullmatch(reference):
        return reference
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "ls-remote", start, reference],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotCacheable(address) from error
    if not done.stdout:
        raise NotCacheable(address)
    return done.stdout


def _install(
    folder: Path,
    wanted: PipInstall,
    *,
    env: Mapping[str, str],
    log: Path,
    run: RunCommand,
    tell: Callable[[str], object],
) -> InstalledPackages:
    """Install into a folder beside `folder`, which becomes it once it is whole.

    Whoever was killed in here may write for a moment longer than it holds the lock.
    """
    begun = time.monotonic()
    asked = [parsed for each in wanted.missing if (parsed := parse_requirement(each)) is not None]
    tell(f"installing {', '.join(f'{each.name}{each.specifier}' for each in asked) or 'packages'}")
    for left in [folder, *folder.parent.glob(f"{folder.name}{_UNFINISHED}*")]:
        shutil.rmtree(left, ignore_errors=True)
    new = folder.with_name(f"{folder.name}{_UNFINISHED}{uuid.uuid4().hex[:8]}")
    try:
        here = {canonicalize_name(each.partition("-")[0].removesuffix(".egg")) for each in _installed_here()}
        sees_product = not any(canonicalize_name(each.name) in here and not each.extras for each in asked)
        if sees_product:
            _run_pip(new, wanted.missing, wanted.options, sees_product=True, env=env, log=log, run=run)
            sees_product = here.isdisjoint(map(canonicalize_name, _versions(new)))
        if not sees_product:
            _run_pip(new, wanted.requirements, wanted.options, sees_product=False, env=env, log=log, run=run)
        _make_layer(new)
        versions, took_s = _versions(new), round(time.monotonic() - begun, 1)
        said = {"sees_product": sees_product, "versions": versions, "took_s": took_s}
        (new / COMPLETE).write_text(json.dumps(said))
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return InstalledPackages(folder=folder, sees_product=sees_product, versions=versions, took_s=took_s)


def _run_pip(
    folder: Path,
    requirements: Sequence[str],
    options: Sequence[str],
    *,
    sees_product: bool,
    env: Mapping[str, str],
    log: Path,
    run: RunCommand,
) -> None:
    bridge = folder / _BRIDGE
    program = write_environment(folder, product_packages() if sees_product else [str(bridge)])
    if not sees_product:
        make_bridge(bridge, ["pip"])
    if importlib.util.find_spec("pip") is None and not bundled_pip():
        raise RunFailed(
            f"the step asks for the packages {' '.join(requirements)}, and there is no pip to install them: "
            f"{sys.executable} has neither pip nor ensurepip. Install one of the two"
        )
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-input", *options, *requirements]
    before = log.stat().st_size if log.exists() else 0
    (temporary := folder / _TEMPORARY).mkdir()  # goes with the folder where pip is killed
    own = {**_INTO_THE_ENVIRONMENT, "TMPDIR": str(temporary)}
    code = run([str(program), "-m", "pip", *install], {**env, **own}, log)
    if code:
        raise RunFailed(_why(log.read_bytes()[before:].decode(errors="replace"), requirements))


def _why(output: str, requirements: Sequence[str]) -> str:
    lines = [each for each in output.splitlines() if each.strip() and not each.startswith("WARNING: Retrying")]
    asked = f"pip cannot install what the step asks for, {' '.join(requirements)}: "
    if _UNREACHABLE.search(output):
        asked += "the package index cannot be reached. Give another one (PIP_INDEX_URL), or a folder of wheels "
        asked += "(PIP_FIND_LINKS and PIP_NO_INDEX=1). pip says: "
    return asked + "; ".join(each.removeprefix("ERROR: ") for each in lines[-_SHOWN_LINES:])


def _version_here(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _versions(folder: Path) -> dict[str, str]:
    packages, _ = own_paths(folder)
    found = importlib.metadata.distributions(path=[str(packages)])
    return dict(sorted((each.name, each.version) for each in found))


def _make_layer(folder: Path) -> None:
    """Leave only packages and programs, which run by the Python of the step that uses them."""
    packages, programs = own_paths(folder)
    free_programs(list(programs.iterdir()), programs, of=programs)
    for name in (_BRIDGE, _TEMPORARY):
        shutil.rmtree(folder / name, ignore_errors=True)
    for each in [*programs.glob("python*"), folder / "pyvenv.cfg", folder / "pip.conf", packages / "behind.pth"]:
        each.unlink(missing_ok=True)
