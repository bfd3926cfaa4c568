"""SavedModel to TFLite flatbuffer, in one of five modes."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.quantize_tflite.measure import Arrays
from trainwright_components.quiet import quiet_loggers, quiet_stderr
from trainwright_components.saved_models.signatures import SERVING_DEFAULT

EXACT_MODE = "float32"
_MAX_REASON_CHARACTERS = 300


class ConversionFailed(Exception):
    """Why a mode gave no model; becomes a row of the report."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to store weights and compute.

    Args:
        set_up: Tells TensorFlow's converter.
        integer_type: Of activations that become integers, by TensorFlow's name; empty where they stay floats.
    """

    name: str
    summary: str
    set_up: Callable[[Any], None]
    integer_type: str = ""

    @property
    def needs_rows(self) -> bool:
        """Whether ranges of activations are learnt from representative rows."""
        return bool(self.integer_type)


def _change_nothing(_converter: Any) -> None:
    pass


def _quantize_weights(converter: Any) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _store_halves(converter: Any) -> None:
    import tensorflow as tf

    _quantize_weights(converter)
    converter.target_spec.supported_types = [tf.float16]


def _compute_in_int8(converter: Any) -> None:
    import tensorflow as tf

    _quantize_weights(converter)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _compute_in_int16(converter: Any) -> None:
    import tensorflow as tf

    _quantize_weights(converter)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


MODES = {
    mode.name: mode
    for mode in (
        Mode(name=EXACT_MODE, summary="weights and arithmetic as trained", set_up=_change_nothing),
        Mode(name="dynamic_range", summary="8-bit weights, float activations", set_up=_quantize_weights),
        Mode(name="float16", summary="16-bit float weights", set_up=_store_halves),
        Mode(name="int8", summary="8-bit weights and activations", set_up=_compute_in_int8, integer_type="int8"),
        Mode(
            name="int16x8", summary="8-bit weights, 16-bit activations", set_up=_compute_in_int16, integer_type="int16"
        ),
    )
}


def choose_modes(names: Sequence[str]) -> tuple[Mode, ...]:
    """The modes called `names`, all of them when there are no names.

    Raises:
        InvalidSetting: There is no such mode.
    """
    for name in names:
        if not isinstance(name, str) or name not in MODES:
            raise InvalidSetting(
                f"quantization.modes: no mode is called {name!r}{did_you_mean(str(name), tuple(MODES))}"
            )
    return tuple(MODES[name] for name in dict.fromkeys(names or MODES))


def convert(folder: Path, mode: Mode, rows: "Sequence[Arrays]", *, integer_io: bool = False) -> bytes:
    """Convert a SavedModel to a flatbuffer.

    Args:
        folder: The SavedModel, with one signature.
        mode: How to store and compute.
        rows: Representative inputs, each a batch.
        integer_io: Inputs and outputs of integer modes are integers too, with their scales in the file.

    Raises:
        ConversionFailed: This mode cannot hold the model.
    """
    import tensorflow as tf

    with quiet_stderr() as said, quiet_loggers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own use of a deprecated interpreter, among others
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=[SERVING_DEFAULT])
            mode.set_up(converter)
            if mode.needs_rows:
                converter.representative_dataset = lambda: iter(rows)
            if mode.needs_rows and integer_io:
                converter.inference_input_type = converter.inference_output_type = getattr(tf, mode.integer_type)
            content: bytes = converter.convert()
        except Exception as error:  # the converter raises whatever its many layers raise
            raise ConversionFailed(_reason(error, said())) from error
    return content


def _reason(error: Exception, said: str) -> str:
    lines = [line.strip() for line in f"{error}\n{said}".splitlines() if line.strip()]
    told = next((line for line in lines if "error:" in line), lines[0] if lines else type(error).__name__)
    return told.split("error: ", 1)[-1][:_MAX_REASON_CHARACTERS]
