"""A process that was forked from one of the product's, made into one of a Python environment of its own.

What it installs, upgrades or removes, and what it starts as `sys.executable`, then leaves the product's packages alone.
"""

import importlib
import os
import site
import sys
from pathlib import Path

PREFIX_VARIABLE = "TRAINWRIGHT_STEP_PREFIX"
"""The environment of the step that a process belongs to."""
PRODUCT_VARIABLE = "TRAINWRIGHT_PYTHON"
"""The interpreter of the product, for what outlives the step."""


def own_paths(prefix: Path) -> tuple[Path, Path]:
    """The folders of packages and of programs in the virtual environment at `prefix`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return prefix / "lib" / version / "site-packages", prefix / "bin"


def own_user_base(prefix: Path) -> Path:
    """Where `pip install --user` goes in that environment."""
    return prefix / "user"


def product_python() -> str:
    """The interpreter that what outlives a step runs in."""
    return os.environ.get(PRODUCT_VARIABLE) or sys.executable


def adopt_own_python() -> None:
    """Take on the environment that `PREFIX_VARIABLE` names, if it is another one than this process came from."""
    prefix = os.environ.get(PREFIX_VARIABLE, "")
    if not prefix or prefix == sys.prefix or not Path(prefix).is_dir():
        return
    user_base = own_user_base(Path(prefix))
    (packages, programs), (user_packages, _) = own_paths(Path(prefix)), own_paths(user_base)
    product = [site.USER_SITE, *site.getsitepackages()]
    place = next((index for index, path in enumerate(sys.path) if path in product), len(sys.path))
    sys.path[place:place] = [str(packages), str(user_packages)]
    site.USER_BASE, site.USER_SITE = str(user_base), str(user_packages)
    sys.executable = str(programs / "python3")
    sys.prefix = sys.exec_prefix = prefix
    site.PREFIXES[:] = [prefix]
    if "sysconfig" in sys.modules:  # it has kept the old prefix, below which pip would install
        importlib.reload(sys.modules["sysconfig"])
    if "multiprocessing.spawn" in sys.modules:
        sys.modules["multiprocessing.spawn"].set_executable(sys.executable)
