"""TFLite models behind the same protocol: signatures, shapes, interpreters that requests take turns with."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder, flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2

from trainwright_components.model_server.models.tflite_model import TfliteModel
from trainwright_components.model_server.status import StatusError

X, Y, TOTAL = "serving_default_x:0", "PartitionedCall:1", "PartitionedCall:0"


class Doubling(tf.Module):
    """y = 2 x, and the sum of each row."""

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def double(self, x: Any) -> Any:
        return {"y": 2.0 * x, "total": tf.reduce_sum(x, 1)}


@pytest.fixture(scope="module")
def content() -> bytes:
    """The flatbuffer of `Doubling`."""
    module = Doubling()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.double.get_concrete_function()], module)
    return bytes(converter.convert())


def save(folder: Path, content: bytes) -> Path:
    (folder / "model.tflite").write_bytes(content)
    return folder


def with_metadata(content: bytes, signatures: dict[str, Any]) -> bytes:
    """The model with SignatureDefs in its metadata, as TensorFlow's own tool writes them: strings in a map."""
    texts = flexbuffers.Builder()
    with texts.Map():
        for name, signature in signatures.items():
            texts.Key(name)
            texts._WriteBlob(signature.SerializeToString(), append_zero=True, type_=flexbuffers.Type.STRING)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(bytes(texts.Finish()), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "signature_defs_metadata", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_without_metadata_the_aliases_are_the_names_of_the_tensors(tmp_path: Path, content: bytes) -> None:
    model = TfliteModel(save(tmp_path, content), interpreters=1)
    signature = model.signatures["serving_default"]
    assert set(signature.inputs) == {X}
    assert len(signature.outputs) == 2
    assert [dim.size for dim in signature.inputs[X].tensor_shape.dim] == [-1, 3]
    assert signature.method_name == "tensorflow/serving/predict"


def test_metadata_names_the_aliases(tmp_path: Path, content: bytes) -> None:
    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    signature.inputs["x"].name = X
    signature.inputs["x"].tensor_shape.dim.add(size=-1)
    signature.outputs["y"].name = Y
    model = TfliteModel(save(tmp_path, with_metadata(content, {"serving_default": signature})), interpreters=1)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    answer = model.run("serving_default", {"x": rows}, ["y"])["y"]
    assert answer.tolist() in ((rows * 2).tolist(), rows.sum(1).tolist())


def test_several_signatures_in_the_metadata_are_refused_as_in_tensorflow_serving(
    tmp_path: Path, content: bytes
) -> None:
    signature = meta_graph_pb2.SignatureDef()
    save(tmp_path, with_metadata(content, {"a": signature, "b": signature}))
    with pytest.raises(StatusError, match="Multiple SignatureDefs found in TfLite model"):
        TfliteModel(tmp_path, interpreters=1)


def test_batches_of_any_size_are_computed(tmp_path: Path, content: bytes) -> None:
    model = TfliteModel(save(tmp_path, content), interpreters=1)
    outputs = sorted(model.signatures["serving_default"].outputs)
    for size in (1, 5, 2, 2):
        rows = np.random.default_rng(size).normal(size=(size, 3)).astype(np.float32)
        values = model.run("serving_default", {X: rows}, outputs)
        by_rank = {value.ndim: value for value in values.values()}
        np.testing.assert_array_equal(by_rank[2], rows * 2)
        np.testing.assert_allclose(by_rank[1], rows.sum(1), rtol=1e-6)


@pytest.mark.parametrize("value", [np.zeros((2, 4), np.float32), np.zeros(3, np.float32), np.zeros((1, 3), np.int64)])
def test_inputs_of_another_shape_or_type_are_refused_and_harm_nothing(
    tmp_path: Path, content: bytes, value: Any
) -> None:
    model = TfliteModel(save(tmp_path, content), interpreters=1)
    with pytest.raises(StatusError, match="INVALID_ARGUMENT"):
        model.run("serving_default", {X: value}, [Y])
    assert model.run("serving_default", {X: np.ones((1, 3), np.float32)}, [Y])


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="Cannot build Interpreter"):
        TfliteModel(save(tmp_path, b"no model"), interpreters=1)


def test_requests_take_turns_with_the_interpreters(tmp_path: Path, content: bytes) -> None:
    model = TfliteModel(save(tmp_path, content), interpreters=2)
    barrier = threading.Barrier(8)

    def compute(number: int) -> bool:
        barrier.wait(60)
        rows = np.full((number + 1, 3), number, np.float32)
        values = model.run("serving_default", {X: rows}, [Y, TOTAL])
        return bool(np.array_equal({value.ndim: value for value in values.values()}[2], rows * 2))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(compute, range(8)))
    assert len(model._idle) <= 2
