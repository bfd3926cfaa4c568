"""Warm-up that is made up from signatures."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from trainwright_components.model_server.models.made_up_warmup import warm_up_from_signatures, zeros_for
from trainwright_components.model_server.models.saved_model import SavedModel


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


class Endless:
    """A model that never answers."""

    def __init__(self) -> None:
        self.signatures = {"endless": meta_graph_pb2.SignatureDef()}
        self.is_over = threading.Event()

    def run(self, *_: Any) -> dict[str, Any]:
        self.is_over.wait(60)
        return {}

    def run_together(self, *_: Any) -> list[Any]:
        return []

    def close(self) -> None:
        """Hold nothing."""


def test_a_model_that_does_not_answer_zeros_is_left_to_itself() -> None:
    model = Endless()
    assert warm_up_from_signatures(model, timeout_s=0.01) == []
    model.is_over.set()
