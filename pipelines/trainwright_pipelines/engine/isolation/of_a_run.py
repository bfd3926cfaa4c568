"""What the steps of one run are started in: each isolation is made when a step first needs it."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from trainwright_components.errors import InvalidSetting, RunFailed
from trainwright_pipelines.engine.isolation import ISOLATIONS
from trainwright_pipelines.engine.isolation.admission import check_resources, real_image
from trainwright_pipelines.engine.isolation.choices import CONTAINER, PROCESS, PlannedStep
from trainwright_pipelines.engine.isolation.container import Containers
from trainwright_pipelines.engine.isolation.container_engine import Image
from trainwright_pipelines.engine.isolation.container_launch import ContainerLaunch
from trainwright_pipelines.engine.isolation.launch import Launch
from trainwright_pipelines.engine.isolation.process import Processes
from trainwright_pipelines.engine.isolation.protocol import Isolation, StartedStep
from trainwright_pipelines.ir.placeholders import Placeholders
from trainwright_pipelines.ir.resources import read_resources


@dataclass(kw_only=True)
class Isolations:
    """The isolations of one run, and the images of its steps."""

    _made: dict[str, Isolation] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_closed: bool = False

    def check_open(self) -> None:
        """End what goes on beside the steps of a run that was stopped.

        Raises:
            RunFailed: It was stopped.
        """
        if self._is_closed:
            raise RunFailed("the run was stopped")

    def get(self, name: str) -> Isolation:
        """The isolation of this name.

        Raises:
            RunFailed: It cannot be had here, or the run was stopped.
        """
        with self._lock:
            self.check_open()
            if name not in self._made:
                module, _, attribute = ISOLATIONS[name].partition(":")
                try:
                    self._made[name] = getattr(import_module(module), attribute)()
                except InvalidSetting as error:
                    raise RunFailed(
                        f"the step runs in its image, and no container engine answers: {error}. Start Docker or "
                        "Podman, then go on: trainwright runs resume"
                    ) from error
            return self._made[name]

    def image_of(
        self,
        step: PlannedStep,
        placeholders: Placeholders,
        *,
        images: Mapping[str, str],
        pull_policy: str,
        tell: Callable[[str], object],
    ) -> Image:
        """The image that a step in a container runs in, pulled if it is not here, or as `pull_policy` says.

        Raises:
            InvalidSetting: The image is a logical one that nothing stands for, or the step asks for too much.
            RunFailed: There is no engine, or it does not get the image.
        """
        containers = self.get(CONTAINER)
        assert isinstance(containers, Containers)
        check_resources(read_resources(step.container, placeholders.text), containers.engine, step=step.label)
        name = real_image(placeholders.text(step.image), images, step=step.label)
        return containers.images.get(name, tell, step=step.label, pull_policy=pull_policy)

    def step(self, launch: Launch | ContainerLaunch, *, log: Path, timeout_s: float | None) -> StartedStep:
        """A step that has not started yet."""
        return self.get(launch.isolation).step(launch, log=log, timeout_s=timeout_s)

    @property
    def processes(self) -> Processes:
        """The processes of this machine.

        Raises:
            RunFailed: The run was stopped.
        """
        found = self.get(PROCESS)
        assert isinstance(found, Processes)
        return found

    def end_frozen(self) -> None:
        """Kill a warm process that somebody has stopped, for which steps would wait for ever."""
        with self._lock:
            processes = self._made.get(PROCESS)
        if isinstance(processes, Processes):
            processes.end_frozen()

    def close(self) -> None:
        """End all that runs."""
        with self._lock:
            self._is_closed = True
            made = list(self._made.values())
        for each in made:
            each.close()
