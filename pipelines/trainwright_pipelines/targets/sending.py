"""What the remote targets share: check and upload before a run is sent, and wait for its end."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.named_models import refuse_named_models
from trainwright_pipelines.requests.uploads import local_modules, split_root, upload_modules
from trainwright_pipelines.targets.lowering import refuse_local_paths, refuse_unresolved_images
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


def prepare_parameters(
    lowered: CompiledPipeline, parameters: Mapping[str, Any], *, root: str, project: str | None = None
) -> dict[str, Any]:
    """The parameters with local model modules replaced by the URIs that they were uploaded to.

    Everything is checked before the first byte is uploaded.

    Raises:
        InvalidSetting: The success of a step would be false there, an image is not resolved, or another parameter holds
            a local path or a local model's name.
        TargetUnavailable: The upload failed.
    """
    refuse_remote_limits(lowered.pipeline, parameters)
    refuse_unresolved_images(lowered)
    modules = local_modules(lowered.pipeline, parameters)
    others = {name: value for name, value in parameters.items() if name not in modules}
    refuse_named_models(others, lowered.pipeline)
    refuse_local_paths(others, here=Path.cwd(), home=Path.home())
    for name in modules:
        split_root(root, needed_for=name)
    uploaded = upload_modules(modules, root, project=project)
    for name, uri in uploaded.items():
        logger.info("%s %s is at %s", name, modules[name], uri)
    return {**parameters, **uploaded}


def settle_caching(
    lowered: CompiledPipeline, parameters: Mapping[str, Any], values: Mapping[str, Any], *, use_cache: bool
) -> CompiledPipeline:
    """`lowered` with caching where the target's cache tells the truth, or nowhere.

    Args:
        lowered: The lowered pipeline.
        parameters: The run's parameters before modules were uploaded.
        values: The same afterwards: an uploaded module's address holds the digest of its content.
        use_cache: Whether anything may be cached.
    """
    if not use_cache:
        return without_cache(lowered)
    uploaded = [value for name, value in values.items() if value != parameters.get(name)]
    return without_stale_cache(lowered, values, lasting=uploaded)


def warn_of_remote_limits(pipeline: CompiledPipeline) -> None:
    """Say what `prepare_parameters` would refuse of a run with nothing but defaults."""
    for message in find_remote_limits(pipeline.pipeline, {}):
        logger.warning("not with these defaults: %s", message)


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
