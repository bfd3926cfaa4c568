"""Two models whose signatures reach every rule of the API, and the servers that the cases are put to.

Where `tensorflow_model_server` is on the PATH, the same cases are put to it.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from trainwright_components.model_server.operation.client import is_answering

REAL_SERVER = "tensorflow_model_server"
VERSION = 123
CONFIG = """
model_config_list {{
  config {{
    name: "suite" base_path: "{suite}" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 123 }}
  }}
  config {{ name: "half_plus_two" base_path: "{half_plus_two}" model_platform: "tensorflow" }}
}}
"""
TYPES = (
    tf.float32,
    tf.float64,
    tf.int8,
    tf.int16,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.uint32,
    tf.uint64,
    tf.bool,
    tf.string,
    tf.float16,
    tf.bfloat16,
    tf.uint16,
    tf.complex64,
)


def _spec(dtype: Any, name: str, *tail: int | None) -> Any:
    return tf.TensorSpec([None, *tail], dtype, name=name)


class Suite(tf.Module):
    """Predict signatures of every shape; those named by a type give back what they get."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(0.5)

    @tf.function
    def linear(self, x: Any) -> Any:
        return {"y": self.factor * x + 2.0}

    @tf.function
    def named(self, a: Any, text: Any) -> Any:
        return {"total": tf.reduce_sum(a, 1), "upper": tf.strings.upper(text), "raw_bytes": tf.identity(text)}

    @tf.function
    def same(self, v: Any) -> Any:
        return {"v": tf.identity(v)}

    @tf.function
    def matrix(self, m: Any) -> Any:
        return {"squared": m * m}

    @tf.function
    def scalars(self, x: Any) -> Any:
        return {"mean": tf.reduce_mean(x), "y": x}

    @tf.function
    def uneven(self, x: Any) -> Any:
        return {"all": x, "first": x[:1]}

    @tf.function
    def scaled(self, x: Any, by: Any) -> Any:
        return {"y": x * by}


def save_suite(folder: Path) -> None:
    """Export `Suite`; the input `by` of the signature `scaled` has the default 10."""
    suite = Suite()
    signatures = {
        "serving_default": suite.linear.get_concrete_function(_spec(tf.float32, "x")),
        "named": suite.named.get_concrete_function(_spec(tf.float32, "a", 2), _spec(tf.string, "text")),
        **{dtype.name: suite.same.get_concrete_function(_spec(dtype, "v")) for dtype in TYPES},
        "matrix": suite.matrix.get_concrete_function(_spec(tf.float64, "m", None, None)),
        "scalars": suite.scalars.get_concrete_function(_spec(tf.float32, "x")),
        "uneven": suite.uneven.get_concrete_function(_spec(tf.float32, "x")),
        "scaled": suite.scaled.get_concrete_function(_spec(tf.float32, "x"), tf.TensorSpec([], tf.float32, name="by")),
    }
    tf.saved_model.save(suite, str(folder), signatures=signatures)
    file = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    scaled = content.meta_graphs[0].signature_def["scaled"]
    scaled.defaults["by"].CopyFrom(tf.make_tensor_proto(10.0))
    file.write_bytes(content.SerializeToString())


def save_half_plus_two(folder: Path) -> None:
    """Export signatures of all methods that share one input of tf.Examples, as TensorFlow 1 does.

    y = 0.5 x + 2 and y2 = 0.5 x + 3, x being a feature of one number.
    """
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        other = v1.placeholder(tf.string, [None], name="other_example")
        x = tf.identity(v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32, [0.0])})["x"], name="x")
        a, b = v1.Variable(0.5), v1.Variable(2.0)
        y, y2 = a * x + b, a * x + 3.0
        labels = tf.tile([["low", "high"]], [tf.shape(x)[0], 1])
        scores = tf.concat([1.0 - x, x], 1)
        session.run(v1.global_variables_initializer())
        classify, regress, predict = (f"tensorflow/serving/{name}" for name in ("classify", "regress", "predict"))
        table = {
            "serving_default": ({"x": x}, {"y": y}, predict),
            "regress_x_to_y": ({"inputs": serialized}, {"outputs": y}, regress),
            "regress_x_to_y2": ({"inputs": serialized}, {"outputs": y2}, regress),
            "regress_other": ({"inputs": other}, {"outputs": tf.strings.to_number(other)}, regress),
            "regress_wide": ({"inputs": serialized}, {"outputs": scores}, regress),
            "regress_few": ({"inputs": serialized}, {"outputs": y[:1]}, regress),
            "regress_integers": ({"inputs": serialized}, {"outputs": tf.cast(y, tf.int64)}, regress),
            "regress_other_output": ({"inputs": serialized}, {"y": y}, regress),
            "classify_x_to_y": ({"inputs": serialized}, {"scores": y}, classify),
            "classify_labels": ({"inputs": serialized}, {"classes": labels}, classify),
            "classify_both": ({"inputs": serialized}, {"classes": labels, "scores": scores}, classify),
            "classify_flat": ({"inputs": serialized}, {"scores": tf.reshape(y, [-1])}, classify),
            "classify_doubles": ({"inputs": serialized}, {"scores": tf.cast(y, tf.float64)}, classify),
            "classify_few": ({"inputs": serialized}, {"scores": y[:1]}, classify),
            "classify_uneven": ({"inputs": serialized}, {"classes": labels, "scores": y}, classify),
            "classify_neither": ({"inputs": serialized}, {"y": y}, classify),
            "classify_three": ({"inputs": serialized}, {"classes": labels, "scores": y, "more": y2}, classify),
            "classify_two_inputs": ({"inputs": serialized, "x": x}, {"scores": y}, classify),
            "classify_other_input": ({"x": x}, {"scores": y}, classify),
        }
        info = v1.saved_model.build_tensor_info
        signatures = {
            name: v1.saved_model.build_signature_def(
                {alias: info(tensor) for alias, tensor in inputs.items()},
                {alias: info(tensor) for alias, tensor in outputs.items()},
                method,
            )
            for name, (inputs, outputs, method) in table.items()
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


@pytest.fixture(scope="session")
def suite_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of the two models."""
    folder = tmp_path_factory.mktemp("conformance")
    save_suite(folder / "suite" / str(VERSION))
    save_half_plus_two(folder / "half_plus_two" / str(VERSION))
    file = folder / "models.config"
    file.write_text(CONFIG.format(suite=folder / "suite", half_plus_two=folder / "half_plus_two"))
    return file


def _programs() -> list[str | None]:
    return [None, *([REAL_SERVER] if shutil.which(REAL_SERVER) else [])]


@pytest.fixture(scope="session", params=_programs(), ids=lambda program: program or "trainwright")
def suite_server(
    request: pytest.FixtureRequest,
    suite_config: Path,
    start_server: Callable[..., Any],
    eventually: Callable[..., None],
) -> Any:
    """The server that the parameter names, serving the two models."""
    server = start_server(
        request.param,
        model_config_file=suite_config,
        allow_version_labels_for_unavailable_models=True,
        rest_api_enable_cors_support=True,
    )
    eventually(lambda: is_answering(server.address), timeout_s=180)
    return server
