"""A compiled PipelineSpec as typed records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_BACKOFF_S = 3600.0
_SUBVARIABLE = "-subvar-"


@dataclass(frozen=True, kw_only=True)
class ParameterSlot:
    """An input or output parameter of a component."""

    type: str
    """`NUMBER_INTEGER`, `STRING`, ...; empty when the spec does not say."""
    default: Any = None
    has_default: bool = False
    is_optional: bool = False
    literals: tuple[Any, ...] = ()
    """The only values allowed; empty for any."""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ArtifactSlot:
    """An input or output artifact of a component."""

    schema: Mapping[str, Any]
    is_list: bool = False
    is_optional: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    @property
    def type(self) -> str:
        """Schema title: `system.Dataset`."""
        return str(self.schema.get("schemaTitle") or self.schema.get("instanceSchema") or "system.Artifact")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a task input comes from: exactly one of the first five is set."""

    constant: Any = None
    """With placeholders that the other inputs of the task fill."""
    input: str | None = None
    """An input of the DAG around the task."""
    task: str | None = None
    """A sibling, with `key` its output."""
    status_of: str | None = None
    """A sibling whose final status is wanted."""
    key: str = ""
    selector: str = ""
    """An expression applied to the value."""


@dataclass(frozen=True, kw_only=True)
class Selector:
    """One candidate for an output of a DAG."""

    task: str
    key: str


@dataclass(frozen=True, kw_only=True)
class ItemIterator:
    """What a task is repeated over, and the input that each item becomes."""

    item_input: str
    input: str | None = None
    raw: list[Any] | None = None
    is_artifact: bool = False
    parallelism: int = 0
    """Maximum number of iterations at once; 0 for no limit."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often to try again, and how long to wait before."""

    count: int = 0
    backoff_s: float = 0.0
    factor: float = 2.0
    max_backoff_s: float = MAX_BACKOFF_S

    def wait_s(self, retry: int) -> float:
        """Seconds before the `retry`-th try again, from 1."""
        try:
            return min(self.backoff_s * self.factor ** (retry - 1), self.max_backoff_s)
        except OverflowError:  # after a thousand retries
            return self.max_backoff_s if self.backoff_s else 0.0


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A node of a DAG."""

    name: str
    display_name: str
    component: str
    parameters: Mapping[str, Source]
    artifacts: Mapping[str, Source]
    depends_on: tuple[str, ...]
    condition: str = ""
    runs_after_failures: bool = False
    iterator: ItemIterator | None = None
    retry: Retry = field(default_factory=Retry)
    enables_cache: bool = False
    cache_key: str = ""


@dataclass(frozen=True, kw_only=True)
class Dag:
    """Tasks, and which of their outputs leave the DAG."""

    tasks: Mapping[str, TaskSpec]
    parameters: Mapping[str, tuple[Selector, ...]]
    artifacts: Mapping[str, tuple[Selector, ...]]


@dataclass(frozen=True, kw_only=True)
class Importer:
    """An executor that makes an artifact of an address; nothing runs."""

    uri: Source
    """A constant, or an input of the component."""
    type: str = ""
    """Schema title of the artifact: `system.Model`."""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """What a component without a DAG runs: exactly one of container and importer, or something of another `kind`."""

    kind: str
    """`container`, `importer`, or what only Vertex AI Pipelines runs; `nothing` when it is empty."""
    container: Mapping[str, Any] | None = None
    """As KFP's PipelineContainerSpec has it."""
    importer: Importer | None = None

    @property
    def image(self) -> str:
        """The container's image; empty without one."""
        return str((self.container or {}).get("image") or "")


@dataclass(frozen=True, kw_only=True)
class Component:
    """An interface with either a DAG or an executor behind it."""

    name: str
    input_parameters: Mapping[str, ParameterSlot]
    input_artifacts: Mapping[str, ArtifactSlot]
    output_parameters: Mapping[str, ParameterSlot]
    output_artifacts: Mapping[str, ArtifactSlot]
    dag: Dag | None = None
    executor: str = ""
    passthroughs: Mapping[str, bool] = field(default_factory=dict)
    """What it hands on to a workload of its own, such as `RESOURCES`, and whether that holds for its step as well."""
    interface: Mapping[str, Any] = field(default_factory=dict)
    """Input and output definitions as the spec has them, for digests."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A whole compiled pipeline."""

    name: str
    description: str
    root: Component
    components: Mapping[str, Component]
    executors: Mapping[str, Executor]
    platform: Mapping[str, Any] = field(default_factory=dict)
    """The `kubernetes` part of the platform document; empty when there is none."""
    pipeline_root: str = ""
    """Where the author of the pipeline wants its results; empty when the spec does not say."""

    @property
    def deadline_s(self) -> float | None:
        """How long a run may take; None for no limit."""
        return float(self.platform_config.get("activeDeadlineSeconds") or 0) or None

    @property
    def platform_config(self) -> Mapping[str, Any]:
        """What the platform document says of the whole pipeline."""
        return self.platform.get("pipelineConfig") or {}

    @property
    def has_time_to_live(self) -> bool:
        """Whether the author wants what a run leaves on the platform removed some time after its end."""
        return any(value for name, value in self.platform_config.items() if name.startswith("resourceTtl"))

    @property
    def platform_settings(self) -> Mapping[str, Mapping[str, Any]]:
        """What the platform document says of executors, by their names."""
        return (self.platform.get("deploymentSpec") or {}).get("executors") or {}

    def component_of(self, task: TaskSpec) -> Component:
        """What a task runs."""
        return self.components[task.component]

    def executor_of(self, component: Component) -> Executor | None:
        """What runs a component; None for one with a DAG."""
        return self.executors[component.executor] if component.dag is None else None

    def importer_of(self, component: Component) -> Importer | None:
        """The importer behind a component, if it is one."""
        executor = self.executor_of(component)
        return executor.importer if executor is not None else None


def split_loop_item(name: str) -> tuple[str, str]:
    """The loop's item `x` and its key `y` of the input `x-subvar-y`; no item for any other input."""
    item, _, key = name.rpartition(_SUBVARIABLE)
    return item, key
