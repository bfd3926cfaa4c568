"""The packages that a lightweight component asks for, and whether they are here already."""

import importlib.metadata
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

FILE, EDITABLE, CONSTRAINT = "--requirement=", "--editable=", "--constraint="
_INSTALL = re.compile(r"-m pip install (?P<arguments>.*?)(?=\s*(?:\)?\s*&&|\|\||\n|$))")
_KFP = re.compile(r"(kfp|kfp-pipeline-spec)(?![\w.-])")
_ADDRESS = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:)?(?://(?:localhost)?(?=/))?(?P<path>[^#]*?)(\[[^]]*\])?(#.*)?$"
)
_ARCHIVE = re.compile(r"^[^;@]*\.(whl|zip|tgz|tar\.\w+)$")
_SILENT = {"--quiet", "-q", "--no-warn-script-location", "--disable-pip-version-check", "--user"}
_ELSEWHERE = {"--target", "-t", "--prefix", "--root", "--python"}
_SHORT = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links"}
_WITH_VALUE = _ELSEWHERE.union(
    _SHORT.values(),
    ("--extra-index-url", "--trusted-host", "--no-binary", "--only-binary", "--upgrade-strategy", "--proxy", "--cert"),
    ("--client-cert", "--timeout", "--retries", "--config-settings", "--global-option", "--cache-dir", "--src"),
    ("--use-feature", "--use-deprecated", "--progress-bar", "--exists-action", "--root-user-action", "--log"),
    ("--keyring-provider", "--implementation", "--platform", "--abi", "--python-version", "--report"),
)


@dataclass(frozen=True, kw_only=True)
class PipInstall:
    """The packages that one component asks for, also as files of them, and pip's options, each in one word."""

    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What this environment does not have of it."""
        return [each for each in self.requirements if not is_satisfied(each)]


def wanted_packages(container: Mapping[str, Any]) -> PipInstall:
    """The packages of the pip lines at the start of a lightweight component's command; kfp itself is always here.

    The lines are those of `_get_packages_to_install_command` in kfp/dsl/component_factory.py: one for the component's
    packages, one for kfp with options of its own. Where to install to is not the component's to say.
    """
    requirements: list[str] = []
    options: list[str] = []
    for part in list(container.get("command") or [])[:-2]:
        for match in _INSTALL.finditer(str(part)):
            arguments = list(_arguments(shlex.split(match["arguments"])))
            asked = [each for each in arguments if not each.startswith("-") or each.startswith((FILE, EDITABLE))]
            own = [each for each in asked if not _is_kfp(each) and applies(each)]
            if own:
                requirements += own
                options += [each for each in arguments if each not in asked]
    return PipInstall(requirements=tuple(dict.fromkeys(requirements)), options=tuple(dict.fromkeys(options)))


def _arguments(words: list[str]) -> Iterator[str]:
    """Requirements as they are and options as `--name=value`, without those that say where, and how loud."""
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=") if word.startswith("-") else ("", "", "")
        name = _SHORT.get(name, name)
        if name in _WITH_VALUE:
            value = value if equals else next(remaining, "")
            if name not in _ELSEWHERE:
                yield f"{name}={value}"
        elif word not in _SILENT:
            yield word


def _is_kfp(requirement: str) -> bool:
    return _KFP.match(requirement) is not None or "kubeflow/pipelines" in requirement


def parse_requirement(text: str) -> Requirement | None:
    """A requirement as PEP 508 has it; None for a path, a file of requirements, or the address of a repository."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def place_of(requirement: str) -> str:
    """The path or the address that a requirement gives; empty for a package of an index."""
    if requirement.startswith((FILE, EDITABLE)):
        return requirement.partition("=")[2]
    parsed = parse_requirement(requirement)
    return requirement if parsed is None or _ARCHIVE.search(requirement) else parsed.url or ""


def local_place(requirement: str) -> Path | None:
    """The file or folder of this machine that a requirement gives, if it is there."""
    address = _ADDRESS.match(place_of(requirement))
    if address is None or address["scheme"] not in (None, "file:"):
        return None
    path = Path(unquote(address["path"]) if address["scheme"] else address["path"])
    return path if place_of(requirement) and path.exists() else None


def applies(requirement: str) -> bool:
    """Whether a requirement's marker is true here."""
    parsed = parse_requirement(requirement)
    return parsed is None or parsed.marker is None or parsed.marker.evaluate()


def is_satisfied(requirement: str) -> bool:
    """Whether this environment has what a requirement asks for, and what its extras ask for."""
    parsed = parse_requirement(requirement)
    return parsed is not None and _is_here(parsed, extra="", seen=set())


def _is_here(requirement: Requirement, *, extra: str, seen: set[str]) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return True
    if requirement.url is not None:
        return False
    try:
        found = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(found.version, prereleases=True):
        return False
    for each in requirement.extras:
        key = f"{canonicalize_name(requirement.name)}[{canonicalize_name(each)}]"
        if key in seen:
            continue
        seen.add(key)
        provided = {canonicalize_name(name): name for name in found.metadata.get_all("Provides-Extra") or []}
        name = provided.get(canonicalize_name(each), each)
        asked = [parsed for text in found.requires or [] if (parsed := parse_requirement(text)) is not None]
        of_extra = [parsed for parsed in asked if parsed.marker is not None and "extra" in str(parsed.marker)]
        if not all(_is_here(parsed, extra=name, seen=seen) for parsed in of_extra):
            return False
    return True
