"""Refuse a model that cannot be trained on a dataset, with words for what does not fit. Trains nothing."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidData, InvalidModule, TrainwrightError
from trainwright_components.training.data.label_fit import check_label_fit
from trainwright_components.training.data.labels import LabelCheck, needs_labels, output_symbols
from trainwright_components.training.data.splits import TRAIN, VALIDATION, first_batch, has_split, name_split
from trainwright_components.training.drivers.driver import as_numbers
from trainwright_components.user_module.keras_kind import is_compiled, is_overridden, is_tf_keras, keras_for
from trainwright_components.user_module.model_inputs import TakenInput
from trainwright_components.user_module.module import Context, ModelModule
from trainwright_components.user_module.traceback import reason_of

if TYPE_CHECKING:
    import keras

_ROWS = 2
_GIVE_METRICS = ("train_step", "test_step", "compute_metrics", "get_metrics_result")
_NOT_CALLED = ("fit", "evaluate", "make_train_function", "make_test_function")


def check_module(module: ModelModule, context: Context) -> "keras.Model | None":
    """Build the model once and try it on a few rows, so that a bad module is refused before a cluster starts.

    Returns:
        That model; None for a module that trains by itself.

    Raises:
        InvalidModule: What `build_model` returned is not a compiled Keras model, or does not take what
            `preprocess` gives.
        UserCodeError: The user's code raised.
    """
    if module.train is not None:
        return None
    model = module.build_model(context)
    check_model(module, model, context)
    return model


def check_model(module: ModelModule, model: Any, context: Context) -> Any:
    """Try `model`, which `module` built for `context`, on a few rows, and look at the first batch of each split.

    Returns:
        What it put out for these rows.

    Raises:
        InvalidModule: It is not a compiled Keras model, or it does not take what `preprocess` gives.
        InvalidData: A split has no rows, or labels that the model has no output for.
        UserCodeError: The user's code raised.
    """
    import tensorflow as tf

    check_kind(module, model)
    check_overrides(module, model)
    batch = first_batch(TRAIN, module, context)
    features, *rest = tf.nest.map_structure(lambda column: column[:_ROWS], batch)
    given = module.preprocess(features, context)
    _check_inputs(module, model, given)
    taken = TakenInput.of_model(model, is_named_by_user=module.has_preprocess)
    inputs = given if taken is None else taken.hand_over(given)
    inputs, outputs = _called(module, model, inputs)
    _check_label_fit(module, model, outputs, context)
    _check_labels(TRAIN, module, model, outputs, batch)
    _check_loss(module, model, inputs, outputs, rest, context)
    _check_validation(module, model, outputs, context)
    return outputs


def _check_loss(
    module: ModelModule, model: Any, inputs: Any, outputs: Any, rest: Sequence[Any], context: Context
) -> None:
    """Try Keras' loss on a few rows, where a step of Keras computes it."""
    is_own = is_overridden(model, "train_step")
    if is_own and (is_overridden(model, "test_step") or not has_split(VALIDATION, module, context)):
        return
    if _counts_on_replicas_only(model) or not (rest or is_own):
        return
    labels, weights = (*rest, None, None)[:2]
    try:
        with _refused(module, "computing the loss on a few rows"):
            model.compute_loss(inputs, labels, outputs, weights)
    except InvalidModule as error:
        if not is_own:
            raise
        raise InvalidModule(
            f"{type(model).__name__} of {module.location.name} has a train_step but no test_step, and Keras' own fails "
            f"for the validation split: {error.__cause__}; add a test_step"
        ) from error


def foresee_compiled(module: ModelModule, context: Context) -> list[str] | None:
    """The names of what the model that `module` builds was compiled with, the loss too; None where only training tells.

    Raises:
        InvalidModule: As `check_model`.
        InvalidData: As `check_model`.
        UserCodeError: The user's code raised.
    """
    import tensorflow as tf

    if module.train is not None:
        return None
    model = module.build_model(context)
    outputs = check_model(module, model, context)
    if is_tf_keras(model) or any(is_overridden(model, name) for name in _GIVE_METRICS):
        return None
    features, *rest = tf.nest.map_structure(lambda column: column[:_ROWS], first_batch(TRAIN, module, context))
    labels, weights = (*rest, None, None)[:2]
    with _refused(module, "computing the metrics on a few rows"):
        model.compute_metrics(features, labels, outputs, weights)
        return list(as_numbers(model.get_metrics_result()))


def check_data(module: ModelModule, model: Any, context: Context) -> None:
    """Look at the first batch of each split, without calling the model.

    Raises:
        InvalidModule: A split of `make_dataset` is of another structure.
        InvalidData: A split has no rows, or labels that the model has no output for.
    """
    outputs = output_symbols(model)
    _check_label_fit(module, model, outputs, context)
    _check_labels(TRAIN, module, model, outputs, first_batch(TRAIN, module, context))
    _check_validation(module, model, outputs, context)


def _check_label_fit(module: ModelModule, model: Any, outputs: Any, context: Context) -> None:
    if module.make_dataset is None:
        check_label_fit(model, outputs, context.schema, location=Path(module.location))


def _check_validation(module: ModelModule, model: Any, outputs: Any, context: Context) -> None:
    """The validation split is first read after an epoch of training, which is late to find it unusable."""
    import tensorflow as tf

    if not has_split(VALIDATION, module, context):
        return
    batch = first_batch(VALIDATION, module, context)
    _check_labels(VALIDATION, module, model, outputs, batch)
    if module.make_dataset is None:
        return  # as the train split
    specs = tf.nest.map_structure(lambda column: tf.TensorSpec([None, *column.shape[1:]], column.dtype), batch[0])
    preprocess = tf.function(lambda features: module.preprocess(features, context), input_signature=[specs])
    with module.user_code("preprocess"):
        inputs = preprocess.get_concrete_function().structured_outputs  # traced, not run
    _check_inputs(module, model, inputs)


def _check_labels(split: str, module: ModelModule, model: Any, outputs: Any, batch: Sequence[Any]) -> None:
    source = name_split(split, module)
    if len(batch) > 1 and outputs is not None:
        LabelCheck(model=model, outputs=outputs, source=source).refuse_unusable(batch[1])
    if len(batch) == 1 and needs_labels(model):
        raise InvalidData(
            f"{source} has no labels, which the loss of the model is computed from; give rows as (features, label)"
        )


def _called(module: ModelModule, model: "keras.Model", inputs: Any) -> tuple[Any, Any]:
    """What `model` took and gave; one that does not tell what it takes may want a tensor in place of a dictionary."""
    what = "calling the model on a few rows"
    is_silent, was_built = not getattr(model, "inputs", None), model.built
    try:
        with _refused(module, what), warnings.catch_warnings():
            if is_silent:
                warnings.simplefilter("ignore")  # Keras warns of layers that cannot be built for a dictionary
            return inputs, model(inputs, training=False)
    except TrainwrightError as error:
        if not is_silent or not isinstance(inputs, dict) or len(inputs) != 1:
            raise
        (alone,) = inputs.values()
        model.built = was_built  # or Keras keeps the shape of the dictionary, and cannot load what it saves
        try:
            with _refused(module, what):
                outputs = model(alone, training=False)
        except TrainwrightError as second:
            if isinstance(second.__cause__, TypeError | AttributeError):  # as features["x"] of a tensor raises
                raise error from error.__cause__
            raise
    TakenInput.note_alone(model)
    return alone, outputs


def _counts_on_replicas_only(model: Any) -> bool:
    """Whether computing the loss outside of a replica fails, since tf_keras then also counts it."""
    import tensorflow as tf

    return is_tf_keras(model) and tf.distribute.get_strategy().num_replicas_in_sync > 1


@contextmanager
def _refused(module: ModelModule, what: str) -> Iterator[None]:
    try:
        with module.user_code(what):
            yield
    except TrainwrightError:
        raise
    except Exception as error:
        raise InvalidModule(f"{what} fails for the model of {module.location.name}: {reason_of(error)}") from error


def check_kind(module: ModelModule, model: Any) -> None:
    """Refuse what is not a compiled Keras model."""
    check_is_model(module, model, "build_model")
    if not is_compiled(model):
        raise InvalidModule(
            f"build_model of {module.location.name} returned a model that is not compiled; call "
            "model.compile(optimizer, loss, ...)"
        )
    _refuse_keras_distribution(module)


def check_is_model(module: ModelModule, model: Any, function: str) -> None:
    """Refuse what the module's `function` returned if it is no model of the module's Keras."""
    package = keras_for(module.location)
    if not isinstance(model, package.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        is_of_other = kind.partition(".")[0] in {"keras", "tf_keras"} - {package.__name__}
        hint = "; import one of keras and tf_keras, not both" if is_of_other else ""
        raise InvalidModule(
            f"{function} of {module.location.name} must return a {package.__name__}.Model, got {kind}{hint}"
        )


def _refuse_keras_distribution(module: ModelModule) -> None:
    """Refuse a `keras.distribution` that the module has set: on TensorFlow it changes nothing, without a word."""
    import keras

    chosen = keras.distribution.distribution()
    if chosen is not None:
        keras.distribution.set_distribution(None)
        raise InvalidModule(
            f"{module.location.name} sets keras.distribution to {type(chosen).__name__}, which does nothing on "
            "TensorFlow: every variable stays whole on one device; leave it out and choose training.strategy, such as "
            "mirrored, or training.placement"
        )


def check_overrides(module: ModelModule, model: Any) -> None:
    """Refuse a model class with a method of its own in place of one of Keras' that this training run does not call."""
    for name in _NOT_CALLED:
        owner = next(kind for kind in type(model).__mro__ if name in vars(kind))
        if not owner.__module__.startswith(("keras.", "tf_keras.")):
            raise InvalidModule(
                f"{owner.__name__} of {module.location.name} overrides {name}, which this training run does not call; "
                "override train_step, test_step, compute_loss or compute_metrics, or call it in train(context)"
            )


def _check_inputs(module: ModelModule, model: "keras.Model", inputs: Any) -> None:
    if not getattr(model, "inputs", None):
        return  # a subclassed model says what it takes only when called
    source = f"preprocess of {module.location.name} gives" if module.has_preprocess else "the dataset gives"
    if not isinstance(inputs, dict):
        return
    structure = getattr(model, "input", None)  # a Sequential of Keras 3 has none
    named = structure if isinstance(structure, Mapping) else {tensor.name: tensor for tensor in model.inputs}
    if not all(hasattr(tensor, "shape") for tensor in named.values()):
        return  # nested: calling the model tells
    expected = {name: tuple(tensor.shape) for name, tensor in named.items()}
    given = {name: tuple(tensor.shape) for name, tensor in inputs.items()}
    if set(given) != set(expected):
        taken = TakenInput.of_model(model, is_named_by_user=module.has_preprocess)
        advice = "name keras.Input(name=...) and the keys that preprocess returns alike"
        if taken is not None and len(given) == 1:
            (one,), (want,) = given.values(), expected.values()
            if _fits(one, want):
                return
            shapes = f"{_shape(want)} and {_shape((None, *one[1:]))}"
            advice = f"one input may have any name, but these also differ in shape: {shapes}; {_advice(one)}"
        raise InvalidModule(
            f"the model of {module.location.name} takes the inputs {_names(expected)}, but {source} {_names(given)}; "
            f"{advice}"
        )
    for name, shape in expected.items():
        if not _fits(given[name], shape):
            raise InvalidModule(
                f"the model of {module.location.name} takes {name!r} with shape {_shape(shape)}, "
                f"but {source} {_shape((None, *given[name][1:]))}; {_advice(given[name])}"
            )


def _advice(given: tuple[int | None, ...]) -> str:
    return f"build the model with keras.Input(shape={given[1:]}), or give it another shape in preprocess"


def _fits(given: tuple[int | None, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a model takes it: Keras 3.15 and tf_keras 2.21 add or drop a last axis of size 1 by themselves."""
    if len(given) == len(expected) + 1 and given[-1] == 1:
        given = given[:-1]
    elif len(given) == len(expected) - 1 and expected[-1] == 1:
        expected = expected[:-1]
    if len(given) != len(expected):
        return False
    return all(want is None or have == want for have, want in zip(given[1:], expected[1:], strict=True))


def _names(shapes: dict[str, Any]) -> str:
    return ", ".join(map(repr, sorted(shapes))) or "none"


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("batch" if size is None else str(size) for size in shape) + ")"
