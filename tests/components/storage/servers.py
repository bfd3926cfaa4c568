"""Storage servers on this machine, which others wrote: gcp-storage-emulator for gs://, moto for s3://."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from trainwright_components.storage import copies

_NUMBERS = itertools.count()
Handler = Callable[..., None]


@contextmanager
def serving(scheme: str, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket, or what is like one, in the storage of `scheme`."""
    servers = {"gs": google_cloud, "s3": s3}
    bucket = f"bucket-{next(_NUMBERS)}"  # moto and TensorFlow keep what they have for as long as the process lives
    with servers[scheme](patch, bucket=bucket) if scheme in servers else nullcontext():
        yield f"{scheme}://{bucket}"


@contextmanager
def google_cloud(patch: pytest.MonkeyPatch, *, bucket: str) -> Iterator[None]:
    """The emulator, made to keep the precondition that it ignores: the generation that an object must have."""
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    def generation_of(storage: Any, name: str) -> str:
        try:
            return str(storage.get_file_obj(bucket, name)["generation"])
        except NotFound:
            return "0"

    def keeping(handler: Handler) -> Handler:
        def handle(request: Any, response: Any, storage: Any, *rest: Any) -> None:
            wanted = request.query.get("ifGenerationMatch", [None])[0]
            name = request.params.get("object_id") or request.data["meta"]["name"]
            if wanted is not None and generation_of(storage, name) != wanted:
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "Precondition failed"}})
                return
            handler(request, response, storage, *rest)

        return handle

    patch.setattr(objects, "_multipart_upload", keeping(objects._multipart_upload))
    plain, download = objects.download, keeping(objects.download)
    patch.setattr(objects, "download", download)
    routes = [
        (route, {method: download if handler is plain else handler for method, handler in handlers.items()})
        for route, handlers in server.HANDLERS
    ]
    patch.setattr(server, "HANDLERS", routes)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    emulator = server.create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    emulator.start()
    try:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{emulator._api._httpd.server_port}")
        patch.setattr(copies, "_made", {})
        yield
    finally:
        emulator.stop()


@contextmanager
def s3(patch: pytest.MonkeyPatch, *, bucket: str) -> Iterator[None]:
    """Moto's server, with a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.get_host_and_port()[1]}")
        patch.setenv("AWS_ACCESS_KEY_ID", "id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(copies, "_made", {})
        client = boto3.client("s3")
        client.create_bucket(Bucket=bucket)
        yield
    finally:
        server.stop()


@contextmanager
def refusing_writes(patch: pytest.MonkeyPatch, *, status: int) -> Iterator[None]:
    """A server of gs:// and s3:// that answers each upload with `status`."""

    class Refusal(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_MAX_ATTEMPTS": "1",
        "STORAGE_EMULATOR_HOST": address,
    }.items():
        patch.setenv(name, value)
    patch.setattr(copies, "_made", {})
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
