"""Measure the model server against other ways to serve the same SavedModel; run by hand, prints one table.

    python tests/benchmarks/model_server.py [--rounds 3] [--seconds 2] [--kserve-python /path/to/venv/bin/python]
    python tests/benchmarks/model_server.py --workers 2

Every row is paired: in each round all servers take the same load one after the other, and medians over the rounds are
compared. The load comes from another process. `cpu/req` is processor time of the server's process per request, which
a busy machine disturbs least; `p50` and `p99` are those of single requests at a fixed rate, half of what the slowest
server of the row reached. With `--workers` it compares instead one serving process with several, each with one thread
for its model: how much more they answer where there are cores for them.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECTIONS = 4
RESULT = "result "
REST, GRPC = "REST", "gRPC"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    model: str
    shape: tuple[int, ...]
    batch: int
    api: str


CASES = [
    Case(model=model, shape=shape, batch=batch, api=api)
    for model, shape in (("tiny", (28, 28)), ("cnn", (64, 64, 3)))
    for batch in (1, 32)
    for api in (REST, GRPC)
]


def save_models(folder: Path) -> None:
    """Export a small MLP and a CNN of somewhat more than ten milliseconds, as version 1 each."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    tiny = keras.Sequential(
        [keras.Input((28, 28), name="image"), layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10)]
    )
    cnn = keras.Sequential(
        [
            keras.Input((64, 64, 3), name="image"),
            *[layers.Conv2D(width, 3, 1, "same", activation="relu") for width in (64, 96, 128, 128)],
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    for name, model in (("tiny", tiny), ("cnn", cnn)):
        shape = [None, *model.input_shape[1:]]
        archive = keras.export.ExportArchive()
        archive.track(model)
        spec = tf.TensorSpec(shape, tf.float32, name="image")
        archive.add_endpoint("serve", logits_of(model), input_signature=[spec])
        archive.write_out(str(folder / name / "1"), verbose=False)


def logits_of(model: Any) -> Callable[[Any], Any]:
    """A function with named results, as signatures want."""
    return lambda image: {"logits": model(image)}


def image_batch(case: Case) -> Any:
    """The images that every request of a case sends."""
    import numpy as np

    return np.random.default_rng(0).random((case.batch, *case.shape), np.float32)


# The servers. Each is a process that loads <folder>/<model>/1 and answers TensorFlow Serving's predict.


def serve_naive_rest(base: Path, port: int) -> None:
    """What tutorials write: a web framework, json, the signature."""
    import tensorflow as tf
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    loaded = tf.saved_model.load(str(base / "1"))
    infer = loaded.signatures["serving_default"]

    async def predict(request: Any) -> JSONResponse:
        body = await request.json()
        answer = infer(image=tf.constant(body["instances"], tf.float32))
        return JSONResponse({"predictions": answer["logits"].numpy().tolist()})

    application = Starlette(routes=[Route("/v1/models/{name}:predict", predict, methods=["POST"])])
    uvicorn.run(application, port=port, log_level="warning")


def serve_naive_grpc(base: Path, port: int) -> None:
    """What tutorials write: the published stubs, make_ndarray, the signature."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    loaded = tf.saved_model.load(str(base / "1"))
    infer = loaded.signatures["serving_default"]

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  # of the stubs
            answer = infer(image=tf.constant(tf.make_ndarray(request.inputs["image"])))
            response = predict_pb2.PredictResponse()
            response.outputs["logits"].CopyFrom(tf.make_tensor_proto(answer["logits"].numpy()))
            return response

    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def serve_kserve(base: Path, port: int) -> None:
    """KServe's Python server, with TensorFlow from this project's environment."""
    sys.path.extend(os.environ["BENCHMARK_SITE_PACKAGES"].split(os.pathsep))
    import tensorflow as tf
    from kserve import Model, ModelServer

    class Served(Model):
        def load(self) -> bool:
            self.loaded = tf.saved_model.load(str(base / "1"))
            self.ready = True
            return True

        async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            images = tf.constant(payload["instances"], tf.float32)
            answer = self.loaded.signatures["serving_default"](image=images)
            return {"predictions": answer["logits"].numpy().tolist()}

    model = Served(base.name)
    model.load()
    ModelServer(http_port=port, enable_grpc=False, workers=1).start([model])


SERVERS: dict[str, Callable[[Path, int], None]] = {
    "naive-rest": serve_naive_rest,
    "naive-grpc": serve_naive_grpc,
    "kserve": serve_kserve,
}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A server under test."""

    name: str
    process: "subprocess.Popen[bytes]"
    ports: dict[str, int]


@contextmanager
def running(name: str, base: Path, arguments: argparse.Namespace, own_flags: Sequence[str] = ()) -> Iterator[Running]:
    """Start a server and end it after the block; `own_flags` are for ours."""
    from trainwright_components.model_server.operation.process import server_environment
    from trainwright_components.processes.ending import end_process
    from trainwright_components.processes.ports import HeldPorts

    held = HeldPorts.take(2)
    rest, grpc = held.numbers
    script = [sys.executable, __file__]
    environment = server_environment()
    if name == "kserve":
        script[0] = arguments.kserve_python
        environment["BENCHMARK_SITE_PACKAGES"] = os.pathsep.join(p for p in sys.path if "site-packages" in p)
    flags = [f"--port={grpc}", f"--rest_api_port={rest}", f"--model_name={base.name}", f"--model_base_path={base}"]
    commands = {
        "trainwright": [sys.executable, "-m", "trainwright_components.model_server.main", *flags, *own_flags],
        "tensorflow_model_server": ["tensorflow_model_server", *flags],
        "naive-rest": [*script, "--serve", "naive-rest", str(base), str(rest)],
        "naive-grpc": [*script, "--serve", "naive-grpc", str(base), str(grpc)],
        "kserve": [*script, "--serve", "kserve", str(base), str(rest)],
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(commands[name.partition(" ")[0]], stdout=log, stderr=log, env=environment)
        try:
            wait_until_listening(process, grpc if name == "naive-grpc" else rest, log)
            yield Running(name=name, process=process, ports={REST: rest, GRPC: grpc})
        finally:
            end_process(process, timeout_s=20)
            held.close()


def wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Any) -> None:
    """Wait for a server's port."""
    import socket

    deadline = time.monotonic() + 180
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                end = bytes(log.read())[-2000:].decode(errors="replace")
                raise SystemExit(f"{process.args!r} did not start:\n{end}") from None
            time.sleep(0.2)
        else:
            return


# The load: closed loops on a few connections, or requests at a fixed rate.


def request_bytes(case: Case) -> bytes:
    """What every request of a case sends."""
    images = image_batch(case)
    if case.api == REST:
        body = json.dumps({"instances": images.tolist()}).encode()
        head = f"POST /v1/models/{case.model}:predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    from tensorflow.core.framework import types_pb2
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = case.model
    tensor = request.inputs["image"]
    tensor.dtype = types_pb2.DT_FLOAT
    for size in images.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(images.ravel().tolist())
    return bytes(request.SerializeToString())


async def rest_asker(port: int, content: bytes) -> Callable[[], Any]:
    """A kept connection that asks over REST."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)

    async def ask() -> None:
        nonlocal reader, writer
        if reader.at_eof():  # servers end connections that were idle for some seconds
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
        writer.write(content)
        response = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert response.startswith(b"http/1.1 200"), response
        length = int(response.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)

    return ask


async def grpc_asker(port: int, content: bytes) -> Callable[[], Any]:
    """A channel that asks over gRPC."""
    import grpc

    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    async def ask() -> None:
        await call(content)

    return ask


async def generate_load(port: int, api: str, content: bytes, seconds: float, rate: float) -> dict[str, Any]:
    """Ask for `seconds`; at `rate` requests per second, or as fast as answers come if it is 0."""
    make = rest_asker if api == REST else grpc_asker
    askers = [await make(port, content) for _ in range(CONNECTIONS if not rate else 2 * CONNECTIONS)]
    for _ in range(12):
        await asyncio.gather(*(ask() for ask in askers))
    latencies: list[float] = []
    started = time.perf_counter()
    print(RESULT + "warm", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()

    async def closed(ask: Callable[[], Any]) -> None:
        while time.perf_counter() - started < seconds:
            at = time.perf_counter()
            await ask()
            latencies.append(time.perf_counter() - at)

    async def paced(ask: Callable[[], Any], index: int) -> None:
        step = len(askers) / rate
        due = started + step * index / len(askers)
        while due - started < seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await ask()
            latencies.append(time.perf_counter() - due)
            due += step

    tasks = [paced(ask, i) if rate else closed(ask) for i, ask in enumerate(askers)]
    await asyncio.gather(*tasks)
    return {"seconds": time.perf_counter() - started, "latencies": latencies}


def measure(server: Running, case: Case, seconds: float, rate: float = 0) -> dict[str, float]:
    """Have another process ask a server, and count what that cost the server."""
    import psutil

    with (
        tempfile.NamedTemporaryFile() as request,
        subprocess.Popen(
            [
                *(sys.executable, __file__, "--load"),
                json.dumps([server.ports[case.api], case.api, request.name, seconds, rate]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as load,
    ):
        assert load.stdin is not None
        assert load.stdout is not None
        request.write(request_bytes(case))
        request.flush()
        load.stdin.write("ready\n")
        load.stdin.flush()
        lines = (line.removeprefix(RESULT) for line in load.stdout if line.startswith(RESULT))

        def next_result() -> str:
            found = next(lines, None)
            if found is None:  # its own error stands above
                raise SystemExit(
                    f"{server.name}: the load ended with {load.wait()}, the server {server.process.poll()}"
                )
            return found

        next_result()
        root = psutil.Process(server.process.pid)
        processes = [root, *root.children(recursive=True)]
        before = seconds_used(processes)
        load.stdin.write("go\n")
        load.stdin.flush()
        result = json.loads(next_result())
        used_s = seconds_used(processes) - before
    latencies = sorted(result["latencies"])
    count = len(latencies)
    return {
        "rate": count / result["seconds"],
        "cpu_us": used_s / count * 1e6,
        "p50_ms": latencies[count // 2] * 1e3,
        "p99_ms": latencies[min(count - 1, int(count * 0.99))] * 1e3,
    }


def seconds_used(processes: Sequence[Any]) -> float:
    """Processor time of all of them so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def floor_us(base: Path, case: Case) -> float:
    """Microseconds of processor time of one computation in this process, without any server."""
    from trainwright_components.model_server.models.saved_model import SavedModel

    model, images = SavedModel(base / "1"), image_batch(case)
    for _ in range(20):
        model.run("serving_default", {"image": images}, ["logits"])
    runs = []
    for _ in range(5):
        started, count = time.process_time(), 0
        until = time.perf_counter() + 0.3
        while time.perf_counter() < until:
            model.run("serving_default", {"image": images}, ["logits"])
            count += 1
        runs.append((time.process_time() - started) / count * 1e6)
    model.close()
    return statistics.median(runs)


def compare(case: Case, base: Path, names: list[str], arguments: argparse.Namespace) -> None:
    """Print one row per server."""
    floor = floor_us(base, case)
    with ExitStack() as stack:
        servers = [stack.enter_context(running(name, base, arguments)) for name in names]
        full = take_turns(servers, arguments.rounds, lambda server: measure(server, case, arguments.seconds))
        rate = max(1.0, min(median(rounds, "rate") for rounds in full.values()) / 2)
        paced = take_turns(servers, arguments.rounds, lambda server: measure(server, case, arguments.seconds, rate))
    ours = median(full["trainwright"], "cpu_us")
    for name in names:
        cpu = median(full[name], "cpu_us")
        print(
            f"{case.model:5} {case.batch:5} {case.api:4} {name:24} {cpu:9.0f} {floor:8.0f} "
            f"{median(full[name], 'rate'):8.0f} {cpu / ours:7.2f} "
            f"{median(paced[name], 'p50_ms'):8.2f} {median(paced[name], 'p99_ms'):8.2f} {rate:9.0f}",
            flush=True,
        )


def compare_workers(base: Path, case: Case, arguments: argparse.Namespace) -> None:
    """Print what one process and several answer, each with one thread for its model."""
    one_thread = "--tensorflow_session_parallelism=1"
    counts = {f"trainwright x{count}": count for count in (1, arguments.workers)}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(name, base, arguments, [one_thread, f"--workers={count}"]))
            for name, count in counts.items()
        ]
        full = take_turns(servers, arguments.rounds, lambda server: measure(server, case, arguments.seconds))
    alone = median(full["trainwright x1"], "rate")
    for name, rounds in full.items():
        rate, cpu = median(rounds, "rate"), median(rounds, "cpu_us")
        print(
            f"{case.model:5} {case.batch:5} {case.api:4} {name:24} {cpu:9.0f} {rate:8.1f} {rate / alone:7.2f}",
            flush=True,
        )


def take_turns(
    servers: list[Running], rounds: int, use: Callable[[Running], dict[str, float]]
) -> dict[str, list[dict[str, float]]]:
    """Measure each server once in each round."""
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            found[server.name].append(use(server))
    return found


def median(rounds: list[dict[str, float]], key: str) -> float:
    """The median of one figure."""
    return statistics.median(found[key] for found in rounds)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", help="such as tiny-1-REST")
    parser.add_argument("--workers", type=int, default=0, help="compare so many serving processes with one")
    parser.add_argument("--kserve-python", default="", help="python of an environment with kserve")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, base, port = arguments.serve
        SERVERS[name](Path(base), int(port))
        return
    if arguments.load:
        port, api, file, seconds, rate = json.loads(arguments.load)
        sys.stdin.readline()
        found = asyncio.run(generate_load(port, api, Path(file).read_bytes(), seconds, rate))
        print(RESULT + json.dumps(found), flush=True)
        return
    if arguments.workers:
        print("model batch api server                      cpu/req    req/s  x one")
        with tempfile.TemporaryDirectory() as folder:
            save_models(Path(folder))
            for case in CASES:
                if arguments.only in f"{case.model}-{case.batch}-{case.api}":
                    compare_workers(Path(folder, case.model), case, arguments)
        return
    others = ["tensorflow_model_server"] if shutil.which("tensorflow_model_server") else []
    for skipped, reason in (
        ("kserve", "" if arguments.kserve_python else "no --kserve-python was given"),
        ("tensorflow_model_server", "" if others else "it is not on the PATH"),
    ):
        if reason:
            print(f"without {skipped}: {reason}")
    print("model batch api server                      cpu/req    floor    req/s  x ours   p50 ms   p99 ms  at req/s")
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder))
        for case in CASES:
            if arguments.only not in f"{case.model}-{case.batch}-{case.api}":
                continue
            naive = "naive-rest" if case.api == REST else "naive-grpc"
            kserve = ["kserve"] if arguments.kserve_python and case.api == REST else []
            compare(case, Path(folder, case.model), ["trainwright", naive, *kserve, *others], arguments)


if __name__ == "__main__":
    main()
