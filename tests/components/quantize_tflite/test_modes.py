"""What holds for every TFLite mode; a new one is a row of the table."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import trainwright_components.quantize_tflite
from trainwright_components.quantize_tflite.convert import EXACT_MODE, MODES, Mode, choose_modes, convert
from trainwright_components.quantize_tflite.measure import Arrays
from trainwright_components.quantize_tflite.settings import QuantizationSettings

WEIGHTS = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
ROWS: list[Arrays] = [{"x": row[None]} for row in np.random.default_rng(3).uniform(-1, 1, (64, 8)).astype(np.float32)]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    holder = tf.Module()
    holder.weights = tf.Variable(WEIGHTS)

    @tf.function(input_signature=[tf.TensorSpec([1, 8], tf.float32, name="x")])
    def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"predictions": x @ holder.weights}

    tf.saved_model.save(holder, str(folder), signatures={"serving_default": answer})
    return folder


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
class TestEveryMode:
    def test_it_answers_like_the_float_model(self, mode: Mode, line: Path) -> None:
        runner = Interpreter(model_content=convert(line, mode, ROWS)).get_signature_runner("serving_default")
        for row in ROWS[:8]:
            (answer,) = runner(**row).values()
            assert answer == pytest.approx(row["x"] @ WEIGHTS, abs=0.1)

    def test_its_inputs_and_outputs_are_floats_unless_integers_are_asked_for(self, mode: Mode, line: Path) -> None:
        for integer_io in (False, True):
            interpreter = Interpreter(model_content=convert(line, mode, ROWS, integer_io=integer_io))
            details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
            wanted = np.dtype(mode.integer_type if integer_io and mode.needs_rows else "float32")
            assert [np.dtype(detail["dtype"]) for detail in details] == [wanted, wanted]

    def test_it_is_found_by_name_and_documented(self, mode: Mode) -> None:
        (folder,) = map(Path, trainwright_components.quantize_tflite.__path__)
        assert choose_modes([mode.name]) == (mode,)
        assert f"`{mode.name}`" in (folder / "README.md").read_text()
        assert mode.name in str(QuantizationSettings.__doc__)
        assert mode.summary


def test_all_modes_are_tried_where_none_is_named() -> None:
    assert choose_modes([]) == tuple(MODES.values())
    assert EXACT_MODE in MODES
