"""Small servers on loopback that stand in for Kubeflow, Vertex AI and Cloud Storage, and keep what they were asked."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.pipelines.targets.published import KfpApi, faults_of_vertex_message


@dataclass(kw_only=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any]


@dataclass(kw_only=True)
class Double:
    """A server whose subclasses answer by method and path; `faults` are answered first."""

    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """What of requests and of answers the service's published interface does not know."""
    faults: list[Answer] = field(default_factory=list)
    address: str = ""

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def violations_of(self, request: Request, answer: Answer) -> Iterator[str]:
        """What the published interface does not know."""
        yield from ()

    def of(self, method: str, pattern: str) -> list[Request]:
        """The requests so far with this method and a path that matches."""
        return [each for each in self.requests if each.method == method and re.search(pattern, each.path)]

    @contextmanager
    def serving(self) -> Iterator[Self]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._handle))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handle(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.faults and self.takes_fault(request):
            return self.faults.pop(0)
        answer = self.answer(request)
        self.violations += self.violations_of(request, answer)
        return answer

    def takes_fault(self, request: Request) -> bool:
        """Whether the next fault is for this request."""
        return True


@dataclass(kw_only=True)
class FakeKubeflow(Double):
    """KFP's v2beta1 API: health, experiments, runs. A run goes through `states`, one for each time it is asked for."""

    states: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "SUCCEEDED"}])
    api: KfpApi | None = None

    def violations_of(self, request: Request, answer: Answer) -> Iterator[str]:
        if self.api is not None:
            yield from self.api.faults_of_request(request.method, request.path, request.query, request.body)
            yield from self.api.faults_of_response(request.method, request.path, *answer)

    def answer(self, request: Request) -> Answer:
        match request.method, request.path.removeprefix("/apis/v2beta1"):
            case "GET", "/healthz":
                return 200, {"multi_user": False}
            case "GET", "/experiments":
                return 200, {"experiments": []}
            case "POST", "/experiments":
                return 200, {"experiment_id": "experiment-1", "display_name": request.json["display_name"]}
            case "POST", "/runs":
                return 200, {"run_id": "run-1", **request.json}
            case "GET", "/runs/run-1":
                state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
                created = [request.json for request in self.of("POST", "/runs$")][:1] or [{}]
                return 200, {"run_id": "run-1", **created[0], **state}
        return 404, {"message": f"no {request.path}"}


@dataclass(kw_only=True)
class FakeVertex(Double):
    """Vertex' PipelineService over REST, with a job that goes through `states`."""

    states: list[dict[str, Any]] = field(default_factory=lambda: [{"state": "PIPELINE_STATE_SUCCEEDED"}])

    def violations_of(self, request: Request, answer: Answer) -> Iterator[str]:
        if request.method == "POST":
            yield from faults_of_vertex_message("PipelineJob", request.json)
        status, content = answer
        if status == 200:
            yield from faults_of_vertex_message("PipelineJob", content)

    def answer(self, request: Request) -> Answer:
        if request.method == "POST" and request.path.endswith("/pipelineJobs"):
            name = f"{request.path.removeprefix('/v1/')}/{request.query['pipelineJobId']}"
            return 200, {**request.json, "name": name, "state": "PIPELINE_STATE_PENDING"}
        if request.method == "GET" and "/pipelineJobs/" in request.path:
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return 200, {"name": request.path.removeprefix("/v1/"), **state}
        return 404, {"error": {"code": 404, "message": f"no {request.path}", "status": "NOT_FOUND"}}


@dataclass(kw_only=True)
class FakeStorage(Double):
    """Cloud Storage's JSON API: uploads, which keep their precondition."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def takes_fault(self, request: Request) -> bool:
        return request.path.startswith("/upload/")  # the client also asks about the bucket, in its own time

    def answer(self, request: Request) -> Answer:
        found = re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", request.path)
        if request.method != "POST" or not found:
            return 404, {"error": {"code": 404, "message": f"no {request.path}"}}
        metadata, content = _multipart(request)
        name = f"{found[1]}/{unquote(metadata['name'])}"
        if request.query.get("ifGenerationMatch") == "0" and name in self.objects:
            return 412, {"error": {"code": 412, "message": "At least one of the pre-conditions did not hold."}}
        self.objects[name] = content
        return 200, {"bucket": found[1], "name": metadata["name"], "generation": "1"}


def _multipart(request: Request) -> tuple[dict[str, Any], bytes]:
    boundary = request.headers["content-type"].partition("boundary=")[2].strip("'\"").encode()
    _, first, second, _ = request.body.split(b"--" + boundary)
    metadata = json.loads(first.partition(b"\r\n\r\n")[2])
    return metadata, second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


def _handler(answer: Callable[[Request], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=unquote(parts.path),
                query={name: values[0] for name, values in parse_qs(parts.query).items()},
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(int(self.headers.get("content-length", 0))),
            )
            status, content = answer(request)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    return Handler
