"""What the remote targets share: check and upload before a run is sent, and wait for its end."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.named_models import refuse_named_models
from trainwright_pipelines.requests.uploads import check_root, local_modules, upload_modules
from trainwright_pipelines.targets.lowering import (
    PIPELINE_FILE,
    refuse_local_paths,
    refuse_rounded_numbers,
    refuse_unresolved_images,
    to_yaml,
)
from trainwright_pipelines.targets.protocol import RunStatus
from trainwright_pipelines.targets.remote_cache import without_cache, without_stale_cache
from trainwright_pipelines.targets.remote_limits import find_remote_limits, refuse_remote_limits

logger = logging.getLogger(__name__)

POLL_S = 5.0
MAX_FAILED_POLLS = 10


def require(options: Mapping[str, str], *, target: str) -> None:
    """Raise `InvalidSetting` for an option without a value; each comes with the place that may also give it."""
    for name, value in options.items():
        if not value:
            raise InvalidSetting(
                f"target {target} needs --option {name}=... (or targets.{target}.{name} in config.yaml)"
            )


@dataclass(frozen=True, kw_only=True)
class Sendable:
    """A lowered pipeline whose caching is true on its target, and the values to send with it."""

    pipeline: CompiledPipeline
    values: dict[str, Any]

    @contextmanager
    def file(self) -> Iterator[str]:
        """The path of the pipeline's file, as a client's library takes it."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, PIPELINE_FILE)
            file.write_text(to_yaml(self.pipeline), encoding="utf-8")
            yield str(file)


def make_sendable(lowered: CompiledPipeline, parameters: Mapping[str, Any], *, root: str, use_cache: bool) -> Sendable:
    """Check a lowered pipeline, and upload its local model modules below `root`.

    Everything is checked before the first byte is uploaded. Steps are cached where the target's cache tells the truth:
    an uploaded module's address holds the digest of its content.

    Raises:
        InvalidSetting: The success of a step would be false there, an image is not resolved, or another parameter holds
            a local path, a local model's name or a number that would be rounded.
        TargetUnavailable: The upload failed.
    """
    pipeline = lowered.pipeline
    refuse_remote_limits(pipeline, parameters)
    refuse_unresolved_images(lowered)
    modules = local_modules(pipeline, parameters)
    others = {name: value for name, value in parameters.items() if name not in modules}
    refuse_named_models(others, pipeline)
    refuse_rounded_numbers(parameters)
    refuse_local_paths(others, here=Path.cwd(), home=Path.home())
    for name in modules:
        check_root(root, needed_for=name)
    uploaded = upload_modules(modules, root)
    for name, uri in uploaded.items():
        logger.info("%s %s is at %s", name, modules[name], uri)
    values = {**parameters, **uploaded}
    settled = without_stale_cache(lowered, values, lasting=uploaded.values()) if use_cache else without_cache(lowered)
    return Sendable(pipeline=settled, values=values)


def show_lowered(pipeline: CompiledPipeline, lowered: CompiledPipeline) -> dict[str, str]:
    """What a target would be sent, as one file, with a warning of what it would refuse of a run with defaults only."""
    for message in find_remote_limits(pipeline.pipeline, {}):
        logger.warning("not with these defaults: %s", message)
    return {PIPELINE_FILE: to_yaml(without_stale_cache(lowered))}


def follow_run(
    read: Callable[[], RunStatus], report: Callable[[RunStatus], None], *, poll_s: float, look_at: str
) -> RunStatus:
    """Ask for the status until the run has ended, in whatever way; short losses of contact are ridden out.

    Raises:
        TargetUnavailable: Contact was lost for good; the run itself goes on at `look_at`.
    """
    last: RunStatus | None = None
    failed_polls = 0
    while True:
        try:
            status = read()
        except TargetUnavailable as error:
            failed_polls += 1
            if failed_polls >= MAX_FAILED_POLLS:
                raise TargetUnavailable(f"lost contact ({error}); the run itself goes on: {look_at}") from error
        else:
            failed_polls = 0
            if status != last:
                report(status)
                last = status
            if status.is_finished:
                return status
        time.sleep(poll_s)
