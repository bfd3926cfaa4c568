"""Memory goes back to the system when a version is unloaded."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import tensorflow as tf

from trainwright_components.model_server.operation.client import version_states

MEGABYTES = 256


@pytest.mark.slow
def test_an_unloaded_version_holds_no_memory(
    start_server: Callable[..., Any], tmp_path: Path, eventually: Callable[..., None], half: Path
) -> None:
    large = tf.Module()
    large.weights = [tf.Variable(tf.ones((512, 512))) for _ in range(MEGABYTES)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def total(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + tf.add_n([tf.reduce_sum(weight) for weight in large.weights])}

    tf.saved_model.save(large, str(tmp_path / "large" / "1"), signatures={"serving_default": total})
    shutil.copytree(half, tmp_path / "small" / "1")
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list { "
        + " ".join(
            f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}'
            for name in ("small", "large")
        )
        + " }"
    )
    server = start_server(imports_tensorflow=True, model_config_file=config, file_system_poll_wait_seconds=0.1)

    def resident_megabytes() -> float:
        return float(psutil.Process(server.process.pid).memory_info().rss) / (1 << 20)

    server.json("/v1/models/large:predict", {"instances": [1]})
    loaded = resident_megabytes()
    shutil.rmtree(tmp_path / "large" / "1")
    eventually(lambda: version_states(server.address, "large") == {1: ("END", "")})
    eventually(lambda: resident_megabytes() < loaded - 0.8 * MEGABYTES)
