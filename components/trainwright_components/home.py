"""Where state lives: the folder that TRAINWRIGHT_HOME names, and what is inside."""

import os
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import check_local, current_folder, is_utf8, legible

DEFAULT_HOME = "~/.trainwright"
_ADVICE = "set TRAINWRIGHT_HOME to a folder of yours"


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder of state."""

    root: Path

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """One folder per model name, with numbered versions: what the model server serves."""
        return self.root / "models"

    @property
    def serving(self) -> Path:
        """The model server's own record and logs."""
        return self.root / "serving"

    @property
    def compiled(self) -> Path:
        """Compiled pipelines, so that a second run needs no kfp."""
        return self.root / "compiled"

    @property
    def configuration(self) -> Path:
        """Settings of targets: a YAML file that the user may write."""
        return self.root / "config.yaml"


def home_folder(given: str | Path | None = None) -> Path:
    """`given`, else the folder that TRAINWRIGHT_HOME names, else `~/.trainwright`; it may not be there or be unusable.

    Raises:
        InvalidSetting: It names an address, such as gs://, or is not UTF-8 text.
    """
    folder = given or os.environ.get("TRAINWRIGHT_HOME") or DEFAULT_HOME
    check_local(folder, name="home" if given else "TRAINWRIGHT_HOME")
    try:
        root = Path(folder).expanduser()
    except RuntimeError as error:
        raise InvalidSetting(f"the folder of state {folder} has no user's folder for its ~; {_ADVICE}") from error
    root = root if root.is_absolute() else current_folder() / root
    if not is_utf8(str(root)):
        raise InvalidSetting(f"the folder of state {legible(str(root))} is not UTF-8 text; {_ADVICE} with a UTF-8 path")
    return root


def find_home(given: str | Path | None = None) -> Home:
    """The home; made when missing.

    Args:
        given: Its folder; what TRAINWRIGHT_HOME says when absent.

    Raises:
        InvalidSetting: It cannot be made or written to.
    """
    root = home_folder(given)
    make_home(root)
    return Home(root=root)


def is_read_only(root: Path) -> bool:
    """Whether the folder of state is there, but takes nothing: what it holds can be read all the same."""
    return root.is_dir() and not os.access(root, os.W_OK)


def make_home(root: Path) -> None:
    """Make the folder of state when missing.

    Raises:
        InvalidSetting: It cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise InvalidSetting(f"cannot make {root}: {getattr(error, 'strerror', error)}; {_ADVICE}") from error
    if not os.access(root, os.W_OK):
        raise InvalidSetting(f"cannot write to {root}; {_ADVICE}")
