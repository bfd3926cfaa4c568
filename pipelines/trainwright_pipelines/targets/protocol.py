"""What a target is: a place that accepts a compiled pipeline, runs it, and can be asked how far it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from trainwright_components.errors import InvalidSetting
from trainwright_components.home import Home
from trainwright_pipelines.engine.records import RunSettings
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.ir.spec import Pipeline

NO_SETTINGS = RunSettings()
FINISHED_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED", "CACHED"})


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A run that a target accepted.

    Args:
        url: Where a person can look at it; empty when there is no page.
        follow_command: What shows its logs as they grow; empty when there is no such command.
    """

    target: str
    run_id: str
    url: str = ""
    follow_command: str = ""


def refuse_settings(settings: RunSettings, pipeline: Pipeline, target: str) -> None:
    """Refuse what only this machine's engine knows, also where `pipeline` cannot do without it.

    The RuntimeConfig of Kubeflow Pipelines has parameters and no artifacts (backend/api/v2beta1/runtime_config.proto),
    that of Vertex AI takes ids of its metadata store in place of addresses.

    Raises:
        InvalidSetting: There is something.
    """
    needed = [name for name, slot in pipeline.root.input_artifacts.items() if not slot.is_optional]
    if settings.artifacts or needed:
        names = ", ".join(settings.artifacts or needed)
        raise InvalidSetting(
            f"{target} cannot be given artifacts by their addresses ({names}): have the pipeline import them, "
            "dsl.importer(artifact_uri=...), or run it on this machine"
        )
    if settings.isolation:
        raise InvalidSetting(f"{target} runs every step in its image: leave --isolation out")
    if settings.requires_outputs:
        raise InvalidSetting(f"{target} only warns of an output that is not written: leave --require-outputs out")


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """State of one step, in KFP's names of states; `seconds` is absent until it started."""

    name: str
    state: str
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """State of a run and of its steps, in the order in which they appear in the pipeline."""

    state: str
    tasks: tuple[TaskStatus, ...] = ()
    message: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen to this run."""
        return self.state in FINISHED_STATES


class Target(Protocol):
    """A place to run pipelines.

    `options` names each setting and describes it in a few words; the command line checks names against it,
    fills values from `--option NAME=VALUE` and the configuration file, and prints it in the help.
    """

    name: ClassVar[str]
    runs_here: ClassVar[bool]
    """Whether this machine's engine runs it: local paths can be read, and its store tells all of a run."""
    options: ClassVar[Mapping[str, str]]

    @classmethod
    def from_options(cls, options: Mapping[str, str], home: Home | None = None) -> Self:
        """Make the target; raises `InvalidSetting` for a missing or unusable value, and contacts nobody.

        Where it keeps state on this machine, that is in `home`, by default where TRAINWRIGHT_HOME says.
        """
        ...

    def lower(self, pipeline: CompiledPipeline) -> Mapping[str, str]:
        """What the target would be sent: names of files and their text, the pipeline itself first."""
        ...

    def submit(
        self,
        pipeline: CompiledPipeline,
        parameters: Mapping[str, Any],
        *,
        name: str = "",
        use_cache: bool = True,
        settings: RunSettings = NO_SETTINGS,
    ) -> Submission:
        """Send a run. Local paths in `parameters` are absolute; without a `name` for people the target makes one.

        `settings` are for this machine's engine; other targets refuse them.

        Raises:
            TargetUnavailable: The target refuses, or cannot be reached.
            InvalidPipeline: An image is not resolved, or a local path was not uploaded; nothing was sent.
        """
        ...

    def follow(self, submission: Submission, report: Callable[[RunStatus], None]) -> RunStatus:
        """Call `report` whenever something changed, until the run has ended; the last status."""
        ...
