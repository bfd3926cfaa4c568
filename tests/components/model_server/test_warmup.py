"""Warm-up that is made up from signatures."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from trainwright_components.model_server.models.made_up_warmup import warm_up_from_signatures, zeros_for
from trainwright_components.model_server.models.saved_model import SavedModel
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import StatusError


def test_every_signature_of_a_model_is_computed_on_zeros(half: Path) -> None:
    model = SavedModel(half)
    assert warm_up_from_signatures(model) == sorted(set(model.signatures) - {"__saved_model_init_op"})
    model.close()


def test_open_sizes_are_one_and_strings_are_empty() -> None:
    signature = meta_graph_pb2.SignatureDef()
    signature.inputs["text"].dtype = types_pb2.DT_STRING
    signature.inputs["text"].tensor_shape.dim.add(size=-1)
    signature.inputs["image"].dtype = types_pb2.DT_FLOAT
    for size in (-1, 2, 3):
        signature.inputs["image"].tensor_shape.dim.add(size=size)
    zeros = zeros_for(signature)
    assert zeros["text"].tolist() == [b""]
    np.testing.assert_array_equal(zeros["image"], np.zeros((1, 2, 3), np.float32))
    signature.inputs["image"].tensor_shape.dim[1].size = 1 << 40
    with pytest.raises(ValueError, match="too large to make up"):
        zeros_for(signature)


class Patient(tf.Module):
    """A signature that computes for ten minutes, and one after it."""

    @tf.function
    def endless(self, x: Any) -> Any:
        end = tf.timestamp() + 600.0
        turns = tf.while_loop(lambda _: tf.timestamp() < end, lambda i: (i + 1,), (tf.constant(0),))
        return {"turns": turns[0]}

    @tf.function
    def quick(self, x: Any) -> Any:
        return {"y": x}


def test_a_warm_up_ends_when_its_model_is_unloaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    patient, spec = Patient(), tf.TensorSpec([None], tf.float32, name="x")
    signatures = {name: getattr(patient, name).get_concrete_function(spec) for name in ("endless", "quick")}
    tf.saved_model.save(patient, str(tmp_path), signatures=signatures)
    model = SavedModel(tmp_path)
    with caplog.at_level(logging.INFO):
        assert warm_up_from_signatures(model, timeout_s=0.5) == []
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "made-up-warmup"]
        model.close()
        thread.join(60)
    assert not thread.is_alive()
    assert "its model is unloaded" in caplog.text
    assert "quick" not in caplog.text
    with pytest.raises(StatusError, match="CANCELLED: The model is unloaded"):
        model.run("quick", {"x": np.ones(1, np.float32)}, ["y"])


class Endless:
    """A model that never answers."""

    def __init__(self) -> None:
        self.signatures: Mapping[str, Any] = {"endless": meta_graph_pb2.SignatureDef()}
        self.is_over = threading.Event()

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        self.is_over.wait(60)
        return {}

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        raise AssertionError("no test asks for several signatures")

    def is_quick(self, signature_name: str) -> bool:
        return False

    def close(self) -> None:
        """Hold nothing."""


if TYPE_CHECKING:
    _: type[Servable] = Endless


def test_a_model_that_does_not_answer_zeros_is_left_to_itself() -> None:
    model = Endless()
    assert warm_up_from_signatures(model, timeout_s=0.01) == []
    model.is_over.set()
