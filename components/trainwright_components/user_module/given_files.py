"""Read a trained model that a user brings: a file of Keras, or a SavedModel. Runs no Python code that is in it."""

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainwright_components.errors import InvalidModule, InvalidSetting
from trainwright_components.quiet import quiet_loggers, quiet_stderr
from trainwright_components.user_module.given_model import GivenModel, GivenTensor

_SAVED_MODEL_FILE = "saved_model.pb"
_EXPORT = "write it with model.export('folder') where it can be loaded, and give that folder"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PROBED_ROWS = 8
_PROBED_SIDE = 64  # of what takes any size
_WIDE = 10.0  # such random inputs lead scores, unlike probabilities, beyond 0 and 1


def read_given(path: Path) -> GivenModel:
    """What the model at `path` takes and gives.

    Raises:
        InvalidSetting: There is no such file or folder.
        InvalidModule: It is not a model, a damaged one, or one that needs the user's own classes.
    """
    check_given(path)
    with quiet_loggers(), quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimizers and metrics, which are not used
        return _read_saved_model(path) if path.is_dir() else _read_keras(path)


def check_given(path: Path) -> None:
    """Raise `InvalidSetting` where there is no file or folder `path`."""
    if not path.exists():
        raise InvalidSetting(f"there is no model at {path}; give a .keras or .h5 file, or the folder of a SavedModel")


def _read_keras(path: Path) -> GivenModel:
    import keras

    _check_container(path)
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its many layers raise
        raise InvalidModule(f"{path} cannot be loaded: {_reason(error)}") from error
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InvalidModule(f"{path} is a model that does not tell its inputs; {_EXPORT}")
    is_mapping = isinstance(getattr(model, "input", None), Mapping)  # a Sequential of Keras 3 has none
    inputs = _tensors(model.inputs)
    takes_mapping = is_mapping or len(inputs) > 1

    def call(rows: dict[str, Any]) -> Any:
        return model(rows if takes_mapping else next(iter(rows.values())), training=False)

    return GivenModel(
        path=path,
        is_saved_model=False,
        inputs=inputs,
        outputs=_tensors(model.outputs, names=model.output_names if len(model.outputs) > 1 else None),
        takes_mapping=takes_mapping,
        puts_out_probabilities=_gives_probabilities(call, inputs, path),
    )


def _read_saved_model(path: Path) -> GivenModel:
    import tensorflow as tf

    if not (path / _SAVED_MODEL_FILE).is_file():
        raise InvalidModule(f"{path} holds no {_SAVED_MODEL_FILE}: give the folder of a SavedModel, or a .keras file")
    try:
        signatures = tf.saved_model.load(str(path)).signatures
    except Exception as error:  # TensorFlow raises whatever its many layers raise
        raise InvalidModule(f"{path} cannot be loaded: {_first_line(error)}; is it whole?") from error
    name = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    if name not in signatures:
        raise InvalidModule(
            f"{path} has no signature {name}, but {', '.join(sorted(signatures)) or 'none at all'}; save it with "
            f"tf.saved_model.save(model, folder, signatures={{'{name}': function}})"
        )
    signature = signatures[name]
    inputs = tuple(
        GivenTensor(name=name, shape=_row_shape(spec), dtype=spec.dtype.name)
        for name, spec in sorted(signature.structured_input_signature[1].items())
    )
    outputs = tuple(
        GivenTensor(name=name, shape=_row_shape(spec), dtype=spec.dtype.name)
        for name, spec in sorted(signature.structured_outputs.items())
    )

    def call(rows: dict[str, Any]) -> Any:
        return signature(**{name: tf.constant(value) for name, value in rows.items()})

    return GivenModel(
        path=path,
        is_saved_model=True,
        inputs=inputs,
        outputs=outputs,
        takes_mapping=True,
        puts_out_probabilities=_gives_probabilities(call, inputs, path),
    )


def _check_container(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix not in (".keras", ".h5", ".hdf5"):
        raise InvalidModule(f"{path} is neither a .keras nor an .h5 file, nor the folder of a SavedModel")
    if path.name.endswith(".weights.h5"):
        raise InvalidModule(f"{path} holds weights without their model; save it with model.save('model.keras')")
    with path.open("rb") as file:
        starts_as_hdf5 = file.read(len(_HDF5)) == _HDF5
    is_whole = zipfile.is_zipfile(path) if suffix == ".keras" else starts_as_hdf5
    if not is_whole:
        raise InvalidModule(f"{path} is damaged or cut off: it is not what model.save writes under that name")


def _reason(error: Exception) -> str:
    text = str(error)
    if "lambda" in text.lower() and "safe_mode" in text:
        return f"it has a Lambda layer, whose Python code is not run here; {_EXPORT}"
    if missing := re.search(r"Could not locate (?:class|function) '(\w+)'|Unknown (?:layer|object): '?(\w+)", text):
        name = missing[1] or missing[2]
        return f"it needs {name}, which is the author's own and not one of Keras; {_EXPORT}"
    return f"{_first_line(error)}; if an older Keras wrote it, {_EXPORT}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _tensors(tensors: Sequence[Any], names: Sequence[str] | None = None) -> tuple[GivenTensor, ...]:
    return tuple(
        GivenTensor(name=name, shape=tuple(tensor.shape[1:]), dtype=str(tensor.dtype))
        for name, tensor in zip(names or [tensor.name for tensor in tensors], tensors, strict=True)
    )


def _row_shape(spec: Any) -> tuple[int | None, ...]:
    return tuple(spec.shape[1:]) if spec.shape.rank else ()


def _random_rows(inputs: Sequence[GivenTensor]) -> dict[str, Any]:
    random = np.random.default_rng(0)
    rows: dict[str, Any] = {}
    for each in inputs:
        shape = (_PROBED_ROWS, *(side or _PROBED_SIDE for side in each.shape))
        if each.dtype == "string":
            rows[each.name] = np.full(shape, "", object)
        elif each.dtype.startswith(("float", "bfloat")):
            rows[each.name] = (random.standard_normal(shape) * _WIDE).astype("float32")
        else:
            rows[each.name] = np.zeros(shape, each.dtype)
    return rows


def _gives_probabilities(call: Callable[[dict[str, Any]], Any], inputs: Sequence[GivenTensor], path: Path) -> bool:
    """Whether random rows have answers that could be probabilities; so it is assumed where strings must have a meaning.

    Raises:
        InvalidModule: The model does not take such rows.
    """
    import tensorflow as tf

    try:
        answer = call(_random_rows(inputs))
    except Exception as error:  # TensorFlow raises whatever its many layers raise
        if any(each.dtype == "string" for each in inputs):
            return True
        raise InvalidModule(f"{path} cannot be called with {_PROBED_ROWS} random rows: {_first_line(error)}") from error
    [values, *_] = [np.asarray(part, np.float32) for part in tf.nest.flatten(answer)]
    if values.min() < 0 or values.max() > 1:
        return False
    return values.ndim < 2 or values.shape[-1] == 1 or bool(np.allclose(values.sum(axis=-1), 1, atol=1e-3))
