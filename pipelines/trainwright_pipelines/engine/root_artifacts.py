"""Artifacts that a pipeline itself takes as inputs: addresses that whoever starts a run gives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_components.files import is_utf8
from trainwright_components.hints import did_you_mean
from trainwright_components.storage.addresses import is_remote
from trainwright_pipelines.engine.contract import import_artifact
from trainwright_pipelines.engine.records import Artifact, Run
from trainwright_pipelines.ir.spec import Pipeline


def check_artifacts(pipeline: Pipeline, given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The addresses of the pipeline's artifacts, by input; paths of this machine are absolute.

    Raises:
        InvalidSetting: An input is unknown, missing, or given twice, or nothing is at its path.
    """
    slots = pipeline.root.input_artifacts
    for name, addresses in given.items():
        if name not in slots:
            raise InvalidSetting(f"{pipeline.name} has no artifact {name!r}{did_you_mean(name, slots)}")
        if len(addresses) > 1 and not slots[name].is_list:
            raise InvalidSetting(f"{pipeline.name} takes one artifact {name!r}, got {len(addresses)}")
        for address in addresses:
            _check_address(name, address)
    for name, slot in slots.items():
        if not slot.is_optional and not given.get(name):
            raise InvalidSetting(f"{pipeline.name} needs the artifact {name!r} ({slot.type}): --artifact {name}=PATH")
    return {name: list(addresses) for name, addresses in given.items()}


def _check_address(name: str, address: str) -> None:
    if not is_utf8(address):
        raise InvalidSetting(f"the address of the artifact {name!r} is not UTF-8 text: {ascii(address)[:200]}")
    if not address or (not is_remote(address) and not Path(address).exists()):
        raise InvalidSetting(f"artifact {name!r}: there is nothing at {address!r}")


def read_root_artifacts(pipeline: Pipeline, run: Run) -> dict[str, tuple[Artifact, ...]]:
    """What a run was given, as it is now.

    Raises:
        InvalidPipeline: It is gone.
    """
    found = {}
    for name, addresses in run.artifacts.items():
        slot = pipeline.root.input_artifacts[name]
        try:
            found[name] = tuple(
                import_artifact(slot, address, slot.metadata, task_id=None, name=name) for address in addresses
            )
        except InvalidPipeline as error:
            raise InvalidPipeline(f"the artifact {name!r} that the run was given is gone: {error}") from error
    return found
