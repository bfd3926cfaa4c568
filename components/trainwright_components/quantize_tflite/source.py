"""The part of a SavedModel that TFLite can hold: one signature with numbers in and numbers out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.errors import InvalidModule
from trainwright_components.quantize_tflite.measure import Arrays
from trainwright_components.quiet import quiet_loggers
from trainwright_components.saved_models.graph_names import graph_names
from trainwright_components.saved_models.loaded import LoadedModel, LoadedSignature, LoadingFailed
from trainwright_components.saved_models.signatures import PREPROCESS, PREPROCESSED, SERVING_DEFAULT

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, kw_only=True)
class Source:
    """A loaded SavedModel and the signature of it that is converted.

    Args:
        signature_name: `serving_default` takes raw features; `preprocessed` takes what `preprocess` makes of them.
        names: The signature's input names to names that TFLite accepts.
        output_name: Of the numbers that it answers with.
    """

    saved_model: LoadedModel
    signature_name: str
    names: Mapping[str, str]
    output_name: str

    @property
    def signature(self) -> LoadedSignature:
        """What is converted."""
        return self.saved_model.signatures[self.signature_name]

    @property
    def takes_raw_features(self) -> bool:
        """Whether preprocessing is inside."""
        return self.signature_name == SERVING_DEFAULT

    def inputs(self, features: "Mapping[str, tf.Tensor]") -> Arrays:
        """A batch of raw features as inputs of the TFLite model."""
        tensors = features
        if not self.takes_raw_features:
            tensors = self._signature(PREPROCESS).call(features)
        return {safe: tensors[name].numpy() for name, safe in self.names.items()}

    def answer(self, features: "Mapping[str, tf.Tensor]") -> NDArray[np.float32]:
        """What the float model itself says to a batch of raw features."""
        asked = self._signature(SERVING_DEFAULT)
        answer: NDArray[np.float32] = asked.call(features)[self.output_name].numpy()
        return answer

    def write(self, folder: Path, *, batch_size: int | None) -> None:
        """Write the signature alone as a SavedModel whose batches have `batch_size` rows, or any number."""
        import tensorflow as tf

        signature, output_name, names = self.signature, self.output_name, dict(self.names)
        specs = signature.inputs

        def answer(*tensors: Any) -> dict[str, Any]:
            asked = dict(zip(names, tensors, strict=True))
            return {output_name: signature.call(asked)[output_name]}

        holder = tf.Module()
        holder.saved_model = signature.owner
        holder.answer = tf.function(
            answer,
            input_signature=[
                tf.TensorSpec([batch_size, *specs[name].shape[1:]], specs[name].dtype, name=safe)
                for name, safe in names.items()
            ],
        )
        with quiet_loggers():
            tf.saved_model.save(holder, str(folder), signatures={SERVING_DEFAULT: holder.answer})

    def _signature(self, name: str) -> LoadedSignature:
        return self.saved_model.signatures[name]


def open_source(saved_model: Path) -> tuple[Source, ...]:
    """The signatures of `saved_model` that may be converted, best first.

    Raises:
        InvalidModule: There is none, since inputs are strings or the outputs are not one tensor of numbers.
    """
    try:
        loaded = LoadedModel.load(saved_model)
    except LoadingFailed as error:
        raise InvalidModule(f"{saved_model} is not a SavedModel: {error}") from error
    if SERVING_DEFAULT not in loaded.signatures:
        raise InvalidModule(f"{saved_model} has no signature {SERVING_DEFAULT}; export it with export_savedmodel")
    candidates = [SERVING_DEFAULT]
    if {PREPROCESS, PREPROCESSED} <= set(loaded.signatures):
        candidates.append(PREPROCESSED)
    sources = [_source(loaded, name) for name in candidates if _takes_numbers(loaded.signatures[name])]
    if not sources:
        raise InvalidModule(
            "the model itself takes strings, which TFLite cannot hold. Move what turns strings into numbers, such as "
            "TextVectorization or StringLookup, into the module's preprocess, which has to return dense tensors, "
            "or set quantization.enabled=false to do without TFLite"
        )
    return tuple(sources)


def _source(loaded: LoadedModel, name: str) -> Source:
    specs = loaded.signatures[name].inputs
    return Source(
        saved_model=loaded,
        signature_name=name,
        names=dict(zip(specs, graph_names(specs), strict=True)),
        output_name=_number_output(loaded.signatures[SERVING_DEFAULT]),
    )


def _takes_numbers(signature: LoadedSignature) -> bool:
    return all(spec.dtype.name != "string" for spec in signature.inputs.values())


def _number_output(signature: LoadedSignature) -> str:
    outputs: list[str] = [name for name, spec in signature.outputs.items() if spec.dtype.is_floating]
    if len(outputs) != 1:
        raise InvalidModule(f"TFLite conversion needs one output of numbers; {SERVING_DEFAULT} has {len(outputs)}")
    return outputs[0]
