"""Memory of a server over load and unload cycles of a model of some MB. Run by hand; prints a table.

python tests/benchmarks/model_server_memory.py --cycles 50 --megabytes 16
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import tensorflow as tf

from trainwright_components.model_server.operation.client import is_answering, predict, version_states
from trainwright_components.model_server.operation.process import server_command, server_environment
from trainwright_components.processes.ending import end_process
from trainwright_components.processes.ports import HeldPorts


def save_deep_model(folder: Path, *, megabytes: int) -> None:
    """A model of `megabytes` layers of 1 MB each, from `(batch, 512)` to `(batch,)`."""
    model = tf.Module()
    model.kernels = [tf.Variable(tf.random.stateless_uniform((512, 512), (0, seed))) for seed in range(megabytes)]

    @tf.function(input_signature=[tf.TensorSpec([None, 512], tf.float32, name="x")])
    def total(x: tf.Tensor) -> dict[str, tf.Tensor]:
        for kernel in model.kernels:
            x = tf.nn.relu(x @ kernel / 512.0)
        return {"total": tf.reduce_sum(x, 1)}

    tf.saved_model.save(model, str(folder), signatures={"serving_default": total})


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds."""
    while not condition():
        time.sleep(0.02)


def main() -> None:
    """Run the cycles and print resident memory after each tenth."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, base = Path(folder, "model"), Path(folder, "base")
        base.mkdir()
        save_deep_model(model, megabytes=arguments.megabytes)
        shutil.copytree(model, base / "1")
        held = HeldPorts.take(2)
        rest_port, grpc_port = held.numbers
        flags = {
            "port": grpc_port,
            "rest_api_port": rest_port,
            "model_base_path": base,
            "file_system_poll_wait_seconds": 0.05,
        }
        process = subprocess.Popen(server_command(flags), env=server_environment(), stderr=subprocess.DEVNULL)
        try:
            measure(process, f"http://127.0.0.1:{rest_port}", model, base, arguments.cycles)
        finally:
            end_process(process, timeout_s=30)
            held.close()


def measure(process: "subprocess.Popen[bytes]", address: str, model: Path, base: Path, cycles: int) -> None:
    """Swap versions `cycles` times, ask each once, and print the memory."""
    wait_for(lambda: is_answering(address))
    rows = [[1.0] * 512] * 8
    resident = [psutil.Process(process.pid).memory_info().rss]
    predict(address, "default", instances=rows)
    print(f"| cycle | resident MB |\n|---|---|\n| 0 | {resident[0] / (1 << 20):.0f} |")
    for cycle in range(1, cycles + 1):
        shutil.copytree(model, base / "staged")
        (base / "staged").rename(base / str(cycle + 1))
        expected = {cycle + 1: ("AVAILABLE", ""), cycle: ("END", "")}

        def is_there(expected: dict[int, tuple[str, str]] = expected) -> bool:
            return expected.items() <= (version_states(address, "default") or {}).items()

        wait_for(is_there)
        predict(address, "default", instances=rows)
        shutil.rmtree(base / str(cycle))
        resident.append(psutil.Process(process.pid).memory_info().rss)
        if cycle in {1, 2, 5} or cycle % 10 == 0:
            print(f"| {cycle} | {resident[-1] / (1 << 20):.0f} |", flush=True)
    shutil.rmtree(base / str(cycles + 1))
    wait_for(lambda: (version_states(address, "default") or {})[cycles + 1] == ("END", ""))
    print(f"| unloaded | {psutil.Process(process.pid).memory_info().rss / (1 << 20):.0f} |")
    growth = (resident[-1] - resident[min(5, cycles)]) / (1 << 20) / max(1, cycles - 5)
    print(f"growth per cycle after the fifth: {growth:.2f} MB")


if __name__ == "__main__":
    main()
