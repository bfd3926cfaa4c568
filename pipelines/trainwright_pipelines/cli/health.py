"""Checks of an installation: each says what was found and, where something is wrong, what to do."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

import psutil

from trainwright_components.cluster.launchers.docker_command import docker_version
from trainwright_components.errors import InvalidSetting, TrainwrightError
from trainwright_components.home import make_home
from trainwright_pipelines.engine.isolation.container_engine import find_engine
from trainwright_pipelines.engine.machine import nvidia_gpus, usable_cores

OK, WARNING, ERROR = "ok", "warning", "error"

_PYTHONS = ((3, 11), (3, 13))
_MIN_FREE_GB, _GOOD_FREE_GB = 1.0, 5.0
_MIN_MEMORY_GB, _GOOD_MEMORY_GB = 2.0, 6.0
_SERVING_PORTS = (8501, 8500)
_IMPORT_TIMEOUT_S = 180
_CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"  # beside the code in a clone; not installed elsewhere


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found; `level` is ok, warning or error."""

    subject: str
    level: str
    message: str
    advice: str = ""


def check_health(home: Path, *, is_quick: bool) -> Iterator[Finding]:
    """Check one thing after the other; imports of TensorFlow and kfp only when not `is_quick`."""
    yield check_python()
    yield check_packages()
    yield check_bytecode()
    yield check_disk(home)
    yield check_memory()
    state = check_home(home)
    yield state
    yield check_gpu()
    yield check_docker()
    if state.level != ERROR:
        yield check_ports(home)
        yield check_server(home)
    if not is_quick:
        yield check_import("tensorflow", "keras")
        yield check_import("kfp")


def check_python() -> Finding:
    """Whether the product is tested with this Python."""
    found = f"{platform.python_version()} ({sys.executable})"
    if not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Finding(subject="Python", level=ERROR, message=found, advice="install Python 3.11, 3.12 or 3.13")
    if sys.prefix == sys.base_prefix:
        advice = "a virtual environment keeps these packages apart: python3 -m venv .venv"
        return Finding(subject="Python", level=WARNING, message=f"{found}, no virtual environment", advice=advice)
    return Finding(subject="Python", level=OK, message=found)


def check_packages() -> Finding:
    """Whether the installed packages are within the ranges that the product asks for."""
    from packaging.requirements import Requirement

    wrong = []
    requirements = [Requirement(text) for text in requires("trainwright") or ()]
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    if wrong:
        advice = "install again with the tested versions: pip install -c constraints.txt ."
        return Finding(subject="packages", level=ERROR, message="; ".join(wrong), advice=advice)
    if untested := untested_versions(_CONSTRAINTS):
        message = f"not the tested versions: {', '.join(untested[:8])}{' and more' if len(untested) > 8 else ''}"
        advice = f"they fit the ranges asked for; for the tested ones: pip install -c {_CONSTRAINTS} ."
        return Finding(subject="packages", level=WARNING, message=message, advice=advice)
    names = ("trainwright", "tensorflow", "keras", "kfp")
    shown = ", ".join(f"{name} {version(name)}" for name in names)
    return Finding(subject="packages", level=OK, message=f"{shown}; {len(needed)} requirements hold")


def untested_versions(constraints: Path) -> list[str]:
    """Installed packages in another version than the tests ran with; nothing where the file is not at hand."""
    if not constraints.is_file():
        return []
    different = []
    for line in constraints.read_text().splitlines():
        name, separator, tested = line.partition(";")[0].strip().partition("==")
        if not separator or name.startswith("#"):
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            continue  # not every constraint is needed on every platform
        if found != tested:
            different.append(f"{name} {found} (tested: {tested})")
    return different


def check_bytecode() -> Finding:
    """Whether TensorFlow's bytecode is there; without it every import compiles thousands of files."""
    folder = Path(str(distribution("tensorflow").locate_file("tensorflow/python/framework/__pycache__")))
    if folder.is_dir() and any(folder.glob(f"*.{sys.implementation.cache_tag}.pyc")):
        return Finding(subject="bytecode", level=OK, message="TensorFlow is compiled")
    advice = f"{sys.executable} -m compileall -q {folder.parents[3]}"
    message = "TensorFlow is not compiled: each import takes some 7 s more"
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        message += "; PYTHONDONTWRITEBYTECODE keeps Python from writing it"
    return Finding(subject="bytecode", level=WARNING, message=message, advice=advice)


def check_disk(home: Path) -> Finding:
    """Whether there is room for runs and models."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    message = f"{free_gb:.1f} GB free for {home}"
    advice = (
        "delete old runs (trainwright runs delete --older-than 30d) and what nobody needs (trainwright gc), "
        "or set TRAINWRIGHT_HOME to a larger disk"
    )
    if free_gb < _MIN_FREE_GB:
        return Finding(subject="disk", level=ERROR, message=message, advice=advice)
    if free_gb < _GOOD_FREE_GB:
        return Finding(subject="disk", level=WARNING, message=message, advice=advice)
    return Finding(subject="disk", level=OK, message=message)


def check_memory() -> Finding:
    """Whether there is memory for a few processes with TensorFlow."""
    available_gb = psutil.virtual_memory().available / 1e9
    message = f"{available_gb:.1f} GB free, {usable_cores()} cores"
    if available_gb < _MIN_MEMORY_GB:
        advice = "end other programs; a process with TensorFlow takes 0.5 GB and more"
        return Finding(subject="memory", level=ERROR, message=message, advice=advice)
    level = OK if available_gb >= _GOOD_MEMORY_GB else WARNING
    return Finding(subject="memory", level=level, message=message)


def check_home(home: Path) -> Finding:
    """Whether the folder of state can be used, and the record of runs be opened."""
    try:
        make_home(home)
    except InvalidSetting as error:
        return Finding(subject="runs", level=ERROR, message=str(error))
    if not (home / "store.db").exists():
        return Finding(subject="runs", level=OK, message=f"none yet in {home}")
    from trainwright_pipelines.engine.store import Store

    try:
        store = Store(home)
        try:
            count = len(store.runs(limit=1000))
        finally:
            store.close()
    except TrainwrightError as error:
        return Finding(subject="runs", level=ERROR, message=str(error))
    except Exception as error:  # whatever is wrong with the database is the finding
        advice = "move the file away to start a new record; runs and models on disk are not touched"
        return Finding(subject="runs", level=ERROR, message=f"{home / 'store.db'}: {error}", advice=advice)
    return Finding(subject="runs", level=OK, message=f"{count} in {home}")


def check_gpu() -> Finding:
    """Whether there is a GPU, by its driver."""
    gpus = nvidia_gpus()
    if not gpus:
        return Finding(subject="GPU", level=OK, message="none; everything runs on the CPU")
    advice = "trainwright devices shows whether TensorFlow uses it"
    return Finding(subject="GPU", level=OK, message="; ".join(gpus), advice=advice)


def check_docker() -> Finding:
    """Whether steps can run in their images, and clusters in containers; nothing else needs an engine."""
    try:
        engine = find_engine()
        message = f"{engine.version} answers: steps can run in their images"
    except InvalidSetting as error:
        message = f"{error}: steps whose code is in an image run only with --isolation process"
        return Finding(subject="Docker", level=OK, message=message)
    try:
        docker_version()
    except InvalidSetting as error:
        return Finding(subject="Docker", level=OK, message=f"{message}; clusters of containers cannot be used: {error}")
    return Finding(subject="Docker", level=OK, message=f"{message}, and clusters in containers")


def check_ports(home: Path) -> Finding:
    """Whether the usual ports of a model server are free, or ours."""
    from trainwright_components.model_server.operation.serving_home import ServingHome

    info = ServingHome(home).read_info()
    own = {info.rest_port, info.grpc_port} if info and ServingHome(home).is_supervised else set()
    taken = [str(port) for port in _SERVING_PORTS if port not in own and not _is_free(port)]
    if taken:
        message = f"{', '.join(taken)} in use by another program"
        return Finding(subject="ports", level=OK, message=f"{message}; a free one is chosen by itself")
    return Finding(subject="ports", level=OK, message=f"{', '.join(map(str, _SERVING_PORTS))} free or ours")


def check_server(home: Path) -> Finding:
    """Whether the model server answers, if it should."""
    from trainwright_components.model_server.operation.control import server_status

    try:
        status = server_status(home)
    except TrainwrightError as error:
        return Finding(subject="model server", level=ERROR, message=str(error))
    if status is None or (not status.is_running and status.info.state == "stopped"):
        return Finding(subject="model server", level=OK, message="not running; trainwright serve start starts it")
    if status.is_answering:
        names = ", ".join(each.name for each in status.models) or "no models"
        return Finding(subject="model server", level=OK, message=f"{status.info.rest_address} serves {names}")
    advice = f"read {status.log_file}, then: trainwright serve stop; trainwright serve start"
    return Finding(subject="model server", level=ERROR, message=status.message, advice=advice)


def check_import(*names: str) -> Finding:
    """Whether these import, in a process of their own, and how long that takes."""
    program = "; ".join(f"import {name}" for name in names)
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
    except subprocess.TimeoutExpired:
        return Finding(subject=names[0], level=ERROR, message=f"import takes more than {_IMPORT_TIMEOUT_S} s")
    took_s = time.perf_counter() - start
    if done.returncode == 0:
        return Finding(subject=names[0], level=OK, message=f"imports in {took_s:.1f} s")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit code {done.returncode}"
    advice = "install again with the tested versions: pip install -c constraints.txt ."
    if done.returncode < 0:
        reason = f"ended by signal {-done.returncode}"
        advice = "this processor may lack instructions that the TensorFlow wheel needs (AVX)"
    return Finding(subject=names[0], level=ERROR, message=reason, advice=advice)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
