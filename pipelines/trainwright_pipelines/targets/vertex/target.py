"""Run pipelines on Vertex AI Pipelines (Gemini Enterprise Agent Platform), through Google's own client."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from trainwright_components.errors import InvalidPipeline, InvalidSetting, TargetUnavailable
from trainwright_components.home import Home
from trainwright_components.storage.addresses import scheme_of
from trainwright_components.storage.google_cloud import NO_CREDENTIALS
from trainwright_pipelines.engine.records import RunSettings
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.targets.lowering import (
    IMAGES_OPTION,
    chosen_images,
    lower_for_vertex,
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
    Sendable,
    follow_run,
    make_sendable,
    require,
    show_lowered,
)

PROJECT_VARIABLE = "GOOGLE_CLOUD_PROJECT"
DEFAULT_REGION = "us-central1"

_TIMEOUT_S = 60
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_STATES = {
    "CANCELLED": "CANCELED",
    "CANCELLING": "CANCELING",
    "CANCEL_PENDING": "CANCELING",
    "QUEUED": "PENDING",
    "NOT_TRIGGERED": "SKIPPED",
}


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """Vertex AI Pipelines in one project and region."""

    name: ClassVar[str] = "vertex"
    runs_here: ClassVar[bool] = False
    options: ClassVar[Mapping[str, str]] = {
        "project": f"Google Cloud project; also in {PROJECT_VARIABLE}",
        "region": f"region of Vertex AI; {DEFAULT_REGION} when not given",
        "pipeline_root": "where artifacts and uploaded modules go: gs://BUCKET/FOLDER",
        "service_account": "e-mail address of the service account that the steps run as",
        "network": "VPC network of the steps",
        "failure_policy": "slow runs what can still run after a failure, fast stops; slow when not given",
        "endpoint": "another address of the API, such as a private endpoint",
        "images": IMAGES_OPTION,
    }

    project: str = ""
    region: str = DEFAULT_REGION
    pipeline_root: str = ""
    service_account: str = ""
    network: str = ""
    failure_policy: str = "slow"
    endpoint: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    poll_s: float = POLL_S

    @classmethod
    def from_options(cls, options: Mapping[str, str], home: Home | None = None) -> Self:  # noqa: ARG003  the Protocol's signature
        """Make the target; project and pipeline root are needed only to submit."""
        values: dict[str, Any] = dict(options)
        values["project"] = values.get("project") or os.environ.get(PROJECT_VARIABLE, "")
        root = values.get("pipeline_root", "")
        if root and scheme_of(root) != "gs":
            raise InvalidSetting(f"pipeline_root must begin with gs://, got {root!r}")
        if values.get("failure_policy", "slow") not in ("slow", "fast"):
            raise InvalidSetting(f"failure_policy must be slow or fast, got {values['failure_policy']!r}")
        return cls(**{**values, "images": chosen_images(values)})

    def lower(self, pipeline: CompiledPipeline) -> Mapping[str, str]:
        """One file with one document, which is all that Vertex reads."""
        return show_lowered(pipeline, lower_for_vertex(pipeline, self.images))

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
        require({"project": self.project, "pipeline_root": self.pipeline_root}, target=self.name)
        lowered = lower_for_vertex(pipeline, self.images)
        with self._clear_errors():
            sendable = make_sendable(lowered, parameters, root=self.pipeline_root, use_cache=use_cache)
            job_id, request = self._request(sendable, name=name, use_cache=use_cache)
            created = self._service().create_pipeline_job(
                parent=f"projects/{self.project}/locations/{self.region}",
                pipeline_job=request,
                pipeline_job_id=job_id,
                timeout=_TIMEOUT_S,
                retry=None,
            )
        run = created.name.rpartition("/")[2]
        console = "https://console.cloud.google.com/vertex-ai/pipelines/locations"
        return Submission(
            target=self.name,
            run_id=created.name,
            url=f"{console}/{self.region}/runs/{run}?project={self.project}",
        )

    def follow(self, submission: Submission, report: Callable[[RunStatus], None]) -> RunStatus:
        """Follow a run to its end."""
        service = self._service()

        def read() -> RunStatus:
            with self._clear_errors():
                return _status(service.get_pipeline_job(name=submission.run_id, timeout=_TIMEOUT_S, retry=None))

        return follow_run(read, report, poll_s=self.poll_s, look_at=submission.url)

    def _request(self, sendable: Sendable, *, name: str, use_cache: bool) -> tuple[str, Any]:
        from google.cloud import aiplatform

        pipeline = sendable.pipeline.name
        try:
            with sendable.file() as file:
                job = aiplatform.PipelineJob(
                    display_name=name or pipeline,
                    template_path=file,
                    # two runs within a second would have the same id, which Vertex refuses
                    job_id=f"{pipeline[:100]}-{datetime.now(UTC):%Y%m%d%H%M%S}-{secrets.token_hex(2)}",
                    pipeline_root=self.pipeline_root,
                    parameter_values=sendable.values,
                    enable_caching=None if use_cache else False,
                    failure_policy=self.failure_policy,
                    project=self.project,
                    location=self.region,
                    credentials=self._credentials(),
                )
        except (ValueError, TypeError) as error:
            raise InvalidPipeline(f"Google's client does not accept pipeline {pipeline!r}: {error}") from error
        # `submit()` of the SDK would first look up the bucket's owner, for up to a minute; its request is what counts
        request = job._gca_resource
        request.service_account, request.network = self.service_account, self.network
        return job.job_id, request

    def _service(self) -> Any:
        from google.api_core.client_options import ClientOptions
        from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

        endpoint = self.endpoint or f"{self.region}-aiplatform.googleapis.com"
        with self._clear_errors():
            return PipelineServiceClient(
                credentials=self._credentials(),
                transport="rest",
                client_options=ClientOptions(api_endpoint=endpoint),
            )

    def _credentials(self) -> Any:
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        if self.endpoint.startswith("http://"):
            return AnonymousCredentials()  # never send a token in clear text
        credentials, _ = google.auth.default(scopes=_SCOPES)
        return credentials

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        import google.auth.exceptions
        import requests
        from google.api_core import exceptions

        try:
            yield
        except exceptions.GoogleAPICallError as error:
            raise TargetUnavailable(f"Vertex AI refuses: {error.code} {error.message}") from error
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise TargetUnavailable(NO_CREDENTIALS) from error
        except (requests.RequestException, google.auth.exceptions.GoogleAuthError, exceptions.RetryError) as error:
            where = self.endpoint or f"{self.region}-aiplatform.googleapis.com"
            raise TargetUnavailable(f"cannot reach Vertex AI at {where}: {str(error).rpartition(': ')[2]}") from error


def _status(job: Any) -> RunStatus:
    tasks = [
        TaskStatus(
            name=task.task_name,
            state=_state(task.state),
            seconds=(task.end_time - task.start_time).total_seconds() if task.start_time and task.end_time else None,
            message=task.error.message,
        )
        for task in job.job_detail.task_details
    ]
    return RunStatus(state=_state(job.state), tasks=tuple(tasks), message=job.error.message)


def _state(state: Any) -> str:
    """KFP's name of a state of Vertex."""
    name = str(state.name).removeprefix("PIPELINE_STATE_")
    return _STATES.get(name, name)


if TYPE_CHECKING:
    _: type[Target] = Vertex
