"""Hot swaps and reloads of the configuration under load: how many requests fail. Run by hand; prints a table.

python tests/benchmarks/model_server_swaps.py --swaps 100 --reloads 20
"""

import argparse
import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trainwright_components.model_server.operation.client import is_answering, version_states
from trainwright_components.model_server.operation.process import server_command, server_environment
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.ports import HeldPorts

MODEL = "swapped"


def save_constant_model(folder: Path, number: float) -> None:
    """A model that answers `number` for each row."""
    model = tf.Module()
    model.number = tf.Variable(number)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def constant(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 0.0 * x + model.number}

    tf.saved_model.save(model, str(folder), signatures={"serving_default": constant})


class Load:
    """Clients over REST and gRPC that ask without pause and count what they get."""

    def __init__(self, rest_port: int, grpc_port: int) -> None:
        self._rest_port = rest_port
        self._grpc_port = grpc_port
        self._is_over = threading.Event()
        self.answers: Counter[tuple[str, float]] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self._threads = [threading.Thread(target=ask) for ask in (self._rest, self._rest, self._grpc, self._grpc)]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the requests under way end."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _rest(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._rest_port, timeout=60)
        while not self._is_over.is_set():
            try:
                connection.request("POST", f"/v1/models/{MODEL}:predict", b'{"instances": [1]}')
                response = connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures["REST", str(error)] += 1
                connection.close()
                continue
            if response.status == 200:
                self.answers["REST", json.loads(text)["predictions"][0]] += 1
            else:
                self.failures["REST", text.decode()] += 1
        connection.close()

    def _grpc(self) -> None:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = MODEL
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}") as channel:
            predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
            while not self._is_over.is_set():
                try:
                    self.answers["gRPC", predict(request, timeout=60).outputs["y"].float_val[0]] += 1
                except grpc.RpcError as error:
                    self.failures["gRPC", error.details()] += 1


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds."""
    while not condition():
        time.sleep(0.02)


def config_text(base: Path, *, has_other: bool) -> str:
    """A configuration of the model, and of a second one of the same folder if `has_other`."""
    names = [MODEL, "other"] if has_other else [MODEL]
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }} ' for name in names
    )
    return f"model_config_list {{ {entries}}}"


def publish(models: dict[float, Path], base: Path, version: int) -> None:
    """Put a version in place in one step."""
    shutil.copytree(models[float(version % 2)], base / "staged")
    (base / "staged").rename(base / str(version))


def main() -> None:
    """Swap and reload, and print what the clients saw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--reloads", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, config = folder / "base", folder / "models.config"
        base.mkdir()
        models = {number: folder / f"constant_{number:.0f}" for number in (0.0, 1.0)}
        for number, path in models.items():
            save_constant_model(path, number)
        publish(models, base, 1)
        config.write_text(config_text(base, has_other=False))
        held = HeldPorts.take(2)
        rest_port, grpc_port = held.numbers
        flags = {
            "port": grpc_port,
            "rest_api_port": rest_port,
            "model_config_file": config,
            "file_system_poll_wait_seconds": 0.05,
        }
        process = subprocess.Popen(server_command(flags), env=server_environment(), stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: is_answering(f"http://127.0.0.1:{rest_port}"))
            print("| what | requests answered | failed | seconds |\n|---|---|---|---|")
            measure("swaps", rest_port, grpc_port, lambda: swap(arguments.swaps, models, base, rest_port))
            measure("reloads", rest_port, grpc_port, lambda: reload(arguments.reloads, base, grpc_port))
        finally:
            end_process(process, timeout_s=30)
            held.close()


def measure(what: str, rest_port: int, grpc_port: int, act: Callable[[], Any]) -> None:
    """Act under load and print one row of the table."""
    load = Load(rest_port, grpc_port)
    started = time.monotonic()
    load.start()
    try:
        act()
    finally:
        load.stop()
    seconds = time.monotonic() - started
    print(f"| {what} | {load.answers.total()} | {load.failures.total()} | {seconds:.0f} |", flush=True)
    for (api, text), count in load.failures.items():
        print(f"{api}, {count} times: {text}")


def swap(swaps: int, models: dict[float, Path], base: Path, rest_port: int) -> None:
    """Publish versions one after the other, each when the one before answers alone."""
    for version in range(2, swaps + 2):
        publish(models, base, version)
        expected = {version: ("AVAILABLE", ""), version - 1: ("END", "")}

        def is_there(expected: dict[int, tuple[str, str]] = expected) -> bool:
            return expected.items() <= (version_states(f"http://127.0.0.1:{rest_port}", MODEL) or {}).items()

        wait_for(is_there)
        shutil.rmtree(base / str(version - 1))


def reload(reloads: int, base: Path, grpc_port: int) -> None:
    """Bring a second model and take it away, in turns."""
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        for turn in range(reloads):
            request = model_management_pb2.ReloadConfigRequest()
            for name in [MODEL, "other"] if turn % 2 == 0 else [MODEL]:
                request.config.model_config_list.config.add(name=name, base_path=str(base), model_platform="tensorflow")
            stub.HandleReloadConfigRequest(request, timeout=60)


if __name__ == "__main__":
    main()
