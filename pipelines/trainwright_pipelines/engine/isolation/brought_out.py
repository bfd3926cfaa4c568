"""Outputs that lie inside a container, copied out of it before it is removed.

On Kubernetes the launcher runs inside the container and finds them there; here they would be looked for on this
machine, where another file may have the same path.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import RunFailed
from trainwright_components.storage.addresses import is_remote
from trainwright_pipelines.engine.contract import StepFolder, named_paths

CopyOut = Callable[[str, Path], bool]
"""From a path in the container, links followed, to one of this machine; False if nothing is there."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What a container and this machine both see, under the same paths."""

    folder: StepFolder
    """The step's own."""
    work: Path
    """The working folder in the container: relative paths begin there."""
    others: Sequence[Path] = ()
    volumes: Sequence[Path] = ()
    """Where volumes are mounted: what an address in one names is found there by later steps."""

    def holds(self, path: Path) -> bool:
        """Whether `path` is the same file on both sides; it is not if a link on the way leads out."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(os.path.realpath(each)) for each in (self.folder.path, *self.others))


def bring_out(shared: Shared, copy_out: CopyOut) -> dict[str, Path]:
    """Copies of what the step's outputs name and only its container has, by the names that the step gave.

    Where nothing lies there, there is no file at the copy's path either. A link among the outputs that leads into the
    container becomes what it leads to.

    Raises:
        RunFailed: Something cannot be copied.
    """
    folder = shared.folder
    for place in (folder.executor_output, folder.parameters, folder.artifacts):
        for link in _links_out(place, shared):
            _follow(link, shared, copy_out)
    found: dict[str, Path] = {}
    for named, is_address in named_paths(folder):
        path = shared.work / named
        is_kept = is_remote(named) or (is_address and any(path.is_relative_to(each) for each in shared.volumes))
        if is_kept or named in found or shared.holds(path):
            continue
        found[named] = folder.brought / str(len(found))
        if copy_out(str(path), found[named]):
            _check_links(found[named], named)
    return found


def _links_out(place: Path, shared: Shared) -> Iterator[Path]:
    if place.is_symlink():
        if not shared.holds(place):
            yield place
    elif place.is_dir():
        for each in list(place.iterdir()):
            yield from _links_out(each, shared)


def _follow(link: Path, shared: Shared, copy_out: CopyOut) -> None:
    copy = shared.folder.brought / "link"
    leads_to, name = link.readlink(), link.relative_to(shared.folder.path)
    if not copy_out(str(link), copy):
        raise RunFailed(
            f"the step ended well, but {name} among its outputs is a link to {leads_to}, and its container has nothing "
            "there"
        )
    _check_links(copy, str(name))
    link.unlink()
    shutil.move(copy, link)


def _check_links(copy: Path, named: str) -> None:
    """Links inside a copy may lead to other parts of it; what others lead to is in the container alone."""
    top = Path(os.path.realpath(copy))
    links = [each for each in copy.rglob("*") if each.is_symlink()] if copy.is_dir() else []
    for link in links:
        leads_to = link.readlink()
        if leads_to.is_absolute() or not Path(os.path.realpath(link)).is_relative_to(top):
            raise RunFailed(
                f"the step ended well, but its output {named} cannot be copied out of its container: "
                f"{link.relative_to(copy)} in it is a link to {leads_to}. Make it a relative link to another part of "
                "the output, or a copy"
            )
