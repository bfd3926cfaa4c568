"""Whether this machine can run a pipeline's steps as they are to be run: told before anything starts."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from trainwright_components.errors import InvalidSetting
from trainwright_components.images import LOGICAL_PREFIX, is_logical
from trainwright_pipelines.engine.isolation.choices import CONTAINER, PlannedStep, isolation_of, planned_steps
from trainwright_pipelines.engine.isolation.container_engine import ContainerEngine, find_engine
from trainwright_pipelines.ir.resources import Resources, read_resources
from trainwright_pipelines.ir.spec import Pipeline


def check_isolation(
    pipeline: Pipeline,
    isolation: Mapping[str, str],
    images: Mapping[str, str],
    *,
    is_left: Callable[[str], bool] = lambda _: True,
    resumed: str = "",
) -> None:
    """Refuse steps in containers that cannot be had here.

    Args:
        pipeline: The pipeline.
        isolation: By path of a step, as `resolve_isolation` gives it.
        images: Real images of logical ones.
        is_left: Whether the step at this path is still to run.
        resumed: The run that goes on, where it is not a new one.

    Raises:
        InvalidSetting: No engine answers, an image of ours is not resolved, a step asks for more than the machine has,
            or would serve from inside its container.
    """
    steps = [
        step for step in planned_steps(pipeline) if isolation_of(step, isolation) == CONTAINER and is_left(step.path)
    ]
    if not steps:
        return
    for step in steps:
        if step.stays_here:
            raise InvalidSetting(
                f"{step.label} starts a server that must outlive it, which a container does not: leave it a process"
            )
        real_image(step.image, images, step=step.label)
    engine = _engine_for(steps, resumed)
    for step in steps:
        check_resources(read_resources(step.container, _known), engine, step=step.label)


def _known(text: str) -> str:
    return "" if "{{$" in text else text


def _engine_for(steps: list[PlannedStep], resumed: str) -> ContainerEngine:
    try:
        return find_engine()
    except InvalidSetting as error:
        first = steps[0]
        why = "has its code in its image" if first.needs_image else "is to run in its image"
        more = f", like {len(steps) - 1} more" if len(steps) > 1 else ""
        process = (
            f"run it as a process of this machine: --isolation {first.label}=process, or for all steps "
            "--isolation process"
        )
        advice = f"then go on: trainwright runs resume {resumed}. A new run may also {process}"
        raise InvalidSetting(
            f"{first.label} {why} {first.image}{more}, and no container engine answers: {error}. Start Docker or "
            f"Podman, {advice if resumed else f'or {process}'}"
        ) from error


def real_image(name: str, images: Mapping[str, str], *, step: str) -> str:
    """The image to run: `name`, or what stands for it if it is a logical one.

    Raises:
        InvalidSetting: It is a logical one, and nothing does.
    """
    if not is_logical(name) or name in images:
        return images.get(name, name)
    raise InvalidSetting(
        f"the image {name!r} of {step} is a logical name: to run the step in a container, build one with this package "
        f"installed and give --option images={name.removeprefix(LOGICAL_PREFIX)}=NAME:TAG; a process of this machine "
        f"needs none: --isolation {step}=process"
    )


def check_resources(asked: Resources, engine: ContainerEngine, *, step: str) -> None:
    """Refuse a container that would never get what it asks for.

    Raises:
        InvalidSetting: It asks for more than the engine's machine has.
    """
    least = replace(
        asked,
        cpu_request=max(asked.cpu_request or 0.0, asked.cpu_limit or 0.0),
        memory_request_bytes=max(asked.memory_request_bytes or 0, asked.memory_limit_bytes or 0),
    )
    if lacks := engine.machine.lacks(least):
        raise InvalidSetting(
            f"{step} cannot run in a container: it {lacks}. Ask for less, or run it as a process of this machine: "
            f"--isolation {step}=process"
        )
