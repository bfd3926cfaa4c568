"""Run pipelines on Kubeflow Pipelines, through its own Python client."""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from trainwright_components.errors import InvalidSetting, TargetUnavailable
from trainwright_components.home import Home
from trainwright_components.storage.addresses import scheme_of
from trainwright_pipelines.engine.records import RunSettings
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.targets.lowering import (
    IMAGES_OPTION,
    chosen_images,
    lower_for_kubeflow,
)
from trainwright_pipelines.targets.protocol import (
    NO_SETTINGS,
    RunStatus,
    Submission,
    Target,
    TaskStatus,
    refuse_settings,
)
from trainwright_pipelines.targets.sending import (
    POLL_S,
    follow_run,
    make_sendable,
    require,
    show_lowered,
)

HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
DEFAULT_EXPERIMENT = "Default"

_TIMEOUT_S = 20
_DEFAULT_NAMESPACE = "kubeflow"


@dataclass(frozen=True, kw_only=True)
class Kubeflow:
    """A Kubeflow Pipelines installation."""

    name: ClassVar[str] = "kubeflow"
    runs_here: ClassVar[bool] = False
    options: ClassVar[Mapping[str, str]] = {
        "host": f"address of Kubeflow Pipelines, such as http://localhost:8080; also in {HOST_VARIABLE}",
        "namespace": "namespace of the user, where Kubeflow has several users",
        "experiment": f"experiment to run in; {DEFAULT_EXPERIMENT} when not given",
        "pipeline_root": "where artifacts and uploaded modules go, such as gs://BUCKET/FOLDER",
        "service_account": "Kubernetes service account of the steps",
        "token_file": "file with a bearer token for the API",
        "ca_cert": "file with the certificate authority of the host",
        "images": IMAGES_OPTION,
    }

    host: str = ""
    namespace: str = ""
    experiment: str = DEFAULT_EXPERIMENT
    pipeline_root: str = ""
    service_account: str = ""
    token_file: str = ""
    ca_cert: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    poll_s: float = POLL_S

    @classmethod
    def from_options(cls, options: Mapping[str, str], home: Home | None = None) -> Self:  # noqa: ARG003  the Protocol's signature
        """Make the target; the host is needed only to submit."""
        values: dict[str, Any] = dict(options)
        host = values.get("host") or os.environ.get(HOST_VARIABLE, "")
        if host and not scheme_of(host):
            raise InvalidSetting(f"host must begin with http:// or https://, got {host!r}")
        for name in ("token_file", "ca_cert"):
            if name in values and not Path(values[name]).is_file():
                raise InvalidSetting(f"{name}: there is no file {values[name]}")
        return cls(**{**values, "host": host.rstrip("/"), "images": chosen_images(values)})

    def lower(self, pipeline: CompiledPipeline) -> Mapping[str, str]:
        """One file: the spec, and its platform document if it has one."""
        return show_lowered(pipeline, lower_for_kubeflow(pipeline, self.images))

    def submit(
        self,
        pipeline: CompiledPipeline,
        parameters: Mapping[str, Any],
        *,
        name: str = "",
        use_cache: bool = True,
        settings: RunSettings = NO_SETTINGS,
    ) -> Submission:
        """Send a run."""
        refuse_settings(settings, pipeline.pipeline, self.name)
        require({"host": self.host}, target=self.name)
        lowered = lower_for_kubeflow(pipeline, self.images)
        sendable = make_sendable(lowered, parameters, root=self.pipeline_root, use_cache=use_cache)
        with self._client() as client, sendable.file() as file:
            run = client.create_run_from_pipeline_package(
                file,
                arguments=sendable.values,
                run_name=name or f"{pipeline.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
                experiment_name=self.experiment,
                namespace=self.namespace or None,
                pipeline_root=self.pipeline_root or None,
                enable_caching=None if use_cache else False,
                service_account=self.service_account or None,
            )
        return Submission(target=self.name, run_id=run.run_id, url=f"{self.host}/#/runs/details/{run.run_id}")

    def follow(self, submission: Submission, report: Callable[[RunStatus], None]) -> RunStatus:
        """Follow a run to its end, also to one that was canceled."""
        with self._client() as client:

            def read() -> RunStatus:
                with self._clear_errors():
                    return _status(client.get_run(submission.run_id))

            return follow_run(read, report, poll_s=self.poll_s, look_at=submission.url)

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        """A connected client; its prints are swallowed and its errors made clear."""
        with self._clear_errors(), contextlib.redirect_stdout(io.StringIO()):
            self._check_health()
            from kfp import Client

            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This client only works", FutureWarning)
                client = Client(
                    host=self.host,
                    namespace=self.namespace or _DEFAULT_NAMESPACE,
                    existing_token=self._token(),
                    ssl_ca_cert=self.ca_cert or None,
                )
            yield client

    def _check_health(self) -> None:
        """Ask once, where the client itself would ask five times and wait in between."""
        import requests

        token = self._token()
        reply = requests.get(
            f"{self.host}/apis/v2beta1/healthz",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT_S,
            verify=self.ca_cert or True,
        )
        if reply.status_code in (401, 403):
            raise TargetUnavailable(f"{self.host} refuses access ({reply.status_code}): give --option token_file=FILE")
        if not reply.ok or "json" not in reply.headers.get("content-type", ""):
            raise TargetUnavailable(
                f"{self.host} is not a Kubeflow Pipelines API (its /apis/v2beta1/healthz answers {reply.status_code}): "
                "check --option host"
            )

    def _token(self) -> str | None:
        return Path(self.token_file).read_text(encoding="utf-8").strip() if self.token_file else None

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        import requests
        import urllib3

        try:
            yield
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise TargetUnavailable(f"cannot reach Kubeflow at {self.host}: {_cause(error)}") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "kfp_server_api":
                raise
            raise TargetUnavailable(f"Kubeflow at {self.host} refuses: {_server_message(error)}") from error


def _server_message(error: Any) -> str:
    try:
        body = json.loads(error.body)
        return f"{error.status} {body.get('message') or body.get('error')}"
    except (ValueError, TypeError, AttributeError):
        return f"{getattr(error, 'status', '')} {getattr(error, 'reason', error)}"


def _cause(error: BaseException) -> str:
    """The innermost reason in words: `Connection refused` rather than three layers of pools."""
    reason = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    if isinstance(reason, BaseException) and reason is not error:
        return _cause(reason)
    return str(error).rpartition(": ")[2]


def _status(run: Any) -> RunStatus:
    steps = _steps(run.pipeline_spec or {})
    details = (run.run_details.task_details if run.run_details else None) or []
    tasks = [_task(detail) for detail in details if detail.display_name in steps]
    tasks.sort(key=lambda task: steps[task.name])
    message = run.error.message if run.error else ""
    return RunStatus(state=run.state or "PENDING", tasks=tuple(tasks), message=message or "")


def _steps(document: Mapping[str, Any]) -> dict[str, int]:
    """Names of the steps in the pipeline's order: the API also lists Argo's own nodes."""
    if not document:
        return {}
    pipeline = parse_pipeline(json.dumps(document))
    dags = [each.dag for each in (pipeline.root, *pipeline.components.values()) if each.dag is not None]
    names = [shown for dag in dags for task in dag.tasks.values() for shown in (task.name, task.display_name)]
    return {name: index for index, name in reversed(list(enumerate(names)))}


def _task(detail: Any) -> TaskStatus:
    is_timed = detail.start_time and detail.end_time
    seconds = (detail.end_time - detail.start_time).total_seconds() if is_timed else None
    message = detail.error.message if detail.error else ""
    return TaskStatus(name=detail.display_name, state=detail.state or "PENDING", seconds=seconds, message=message or "")


if TYPE_CHECKING:
    _: type[Target] = Kubeflow
