"""What decides the weights of a training run: which checkpoints it goes on from, and what has changed since.

Another model, other rows or another setting that decides steps make another training. What only steers it (the rest of
the code, rates, callbacks, how many replicas share the work) may change on the way, and is told.
"""

import base64
import binascii
import hashlib
import json
import marshal
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import CodeType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from trainwright_components.training.configuration.settings import TrainingSettings
from trainwright_components.user_module.keras_kind import keras_of
from trainwright_components.user_module.module import Context, ModelModule
from trainwright_components.user_module.own_code import OwnCode

if TYPE_CHECKING:
    import keras

# In the fingerprint: what decides the weights after a step, or which of them are kept.
_DECIDES_STEPS = (
    "batch_size",
    "seed",
    "precision",
    "shuffle",
    "shuffle_buffer",
    "drop_remainder",
    "class_weights",
    "steps_per_epoch",  # also what an epoch is, in which schedules and callbacks count
    "layout",  # its first steps are proved against one device, and random layers draw other numbers in parts
    "deterministic",  # promises the same bits, which no other start gives
)
_DECIDES_WHAT_IS_KEPT = ("monitor", "restore_best_weights")  # where early stopping chooses; its patience may change
# Not in it: a training run that was cut off continues after a change of these.
_NO_EFFECT_ON_WEIGHTS = (
    "epochs",  # how far it goes
    "early_stopping_patience",  # the same, but for whether there is any
    "checkpoint_every_steps",
    "checkpoint_every_s",
    "keep_checkpoints",
    "progress_every_s",
    "steps_per_call",
    "equivalence_steps",
    "on_nan",  # what follows a loss that is NaN: there is no checkpoint of such weights
    "roll_back_factor",
    "max_roll_backs",
    "strategy",  # where the same steps are computed, equal but for rounding
    "logical_devices",
    "placement",
    "tpu",
    "devices",
    "communication",
    "threads",
    "jit_compile",
)
_FEEDS = ("preprocess", "make_dataset")
_MADE_BY = "build_model"
_RATE, _NAME = "learning_rate", "name"
_POLICY = "DTypePolicy"  # its name is what it is
_SHAPES = ("build_config", "build_input_shape", "batch_shape", "batch_input_shape")  # known once a model was called
_CODE_OF_PYTHON = (b"c", b"\xe3")  # the first byte that `marshal` writes of code; the bit 0x80 says that it is shared
_NO_BEGINNING = "of an earlier release, or damaged"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a training run is.

    Args:
        data: Schema and statistics of the dataset.
        feed: The code that reads rows and makes of them what the model takes, with the hyperparameters that it names.
        settings: Those that decide steps.
        model: Its layers, loss and kind of optimizer, with their own code; empty where no model was built.
        code: All code of the module.
        params: All hyperparameters.
        optimizer: The numbers of the optimizer.
        replicas: Their number matters to layers that see the share of a replica, such as BatchNormalization.
        versions: Of the libraries that compute.
    """

    data: str = ""
    feed: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    code: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, module: ModelModule, context: Context, settings: TrainingSettings) -> Self:
        """That of a training run whose model is not built yet."""
        stops_early = settings.early_stopping_patience is not None
        names = _DECIDES_STEPS + (_DECIDES_WHAT_IS_KEPT if stops_early else ())
        values = settings.to_mapping()
        code = OwnCode.of(module)
        feed = code.reached_from(_FEEDS)
        params = json.loads(json.dumps(dict(context.params), sort_keys=True, default=str))
        named = {name: value for name, value in params.items() if feed.mentions(name)}
        return cls(
            data=_digest(context.schema.without_reading().to_json(), context.statistics.to_json()),
            feed=_digest(feed.text, *feed.other_files, named or (params if feed.mentions("params") else {})),
            settings=json.loads(json.dumps({name: values[name] for name in names})),
            code=_digest(code.text, *code.other_files),
            params=params,
            replicas=context.replicas,
        )

    @classmethod
    def of_model(cls, module: ModelModule, context: Context, settings: TrainingSettings, model: "keras.Model") -> Self:
        """That of a training run of `model`, which `module` built."""
        import tensorflow as tf

        known = cls.of(module, context, settings)
        package = keras_of(model)
        return cls(
            **{
                **vars(known),
                "model": _digest_of_model(model, OwnCode.of(module), known.params),
                "optimizer": dict(_leaves(_settings_of(model.optimizer))),
                "versions": {"tensorflow": tf.__version__, package.__name__: package.__version__},
            }
        )

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """What `to_json` gave; an unknown one from what it did not."""
        try:
            return cls(**content)
        except TypeError:
            return cls()

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        return asdict(self)

    @cached_property
    def key(self) -> str:
        """The same for all trainings that may go on from each other's checkpoints."""
        return _digest(self.data, self.feed, self.settings, self.model)

    def is_begun_alike(self, other: "Identity") -> bool:
        """Whether both are given the same: all but the model, which follows from it, and what computes it."""
        names = ("data", "feed", "settings", "code", "params")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def reasons_against(self, earlier: "Identity") -> list[str]:
        """In words, why this training does not go on from checkpoints of `earlier`."""
        if not earlier.data:
            return [_NO_BEGINNING]
        reasons = {
            "the dataset is another": self.data != earlier.data,
            f"the code or the parameters of {' or '.join(_FEEDS)} changed": self.feed != earlier.feed,
            "the model is another (its layers, its loss, the kind of its optimizer, or the code of its own classes)": (
                self.model != earlier.model
            ),
        }
        return [reason for reason, holds in reasons.items() if holds] + list(
            _changes("training.", earlier.settings, self.settings)
        )

    def changes_since(self, earlier: "Identity") -> list[str]:
        """In words, what steers this training otherwise than `earlier`, whose checkpoints it goes on from."""
        found = [
            *_changes("params.", earlier.params, self.params),
            *_changes("the optimizer's ", earlier.optimizer, self.optimizer),
            *_changes("the version of ", earlier.versions, self.versions),
            *_changes("", {"number of replicas": earlier.replicas}, {"number of replicas": self.replicas}),
        ]
        return ["the code of the module changed"] * (self.code != earlier.code) + found

    def new_rate(self, earlier: "Identity") -> float | None:
        """The learning rate that the model is compiled with, if it is a number and another than it was."""
        name = next((name for name in self.optimizer if name.rpartition(".")[2] == _RATE), "")
        rate = self.optimizer.get(name)
        return rate if isinstance(rate, float | int) and rate != earlier.optimizer.get(name) else None


def _digest_of_model(model: "keras.Model", code: OwnCode, params: Mapping[str, Any]) -> str:
    """Of what is known before the model was called: in a cluster, some models have no weights yet."""
    is_known = type(model).__module__.startswith(("keras.", "tf_keras."))
    kinds = [type(layer).__qualname__ for layer in (model, *model.layers) if not _is_input(type(layer).__name__)]
    try:
        with warnings.catch_warnings():  # of functions that could not be loaded again
            warnings.simplefilter("ignore")
            compiled = model.get_compile_config() or {}
            parts = [model.get_config(), compiled.get("loss"), compiled.get("loss_weights")]
    except Exception:  # of code of the user's, and Keras' own of many kinds: a class that cannot be told
        parts, is_known = [], False
    kinds_of = {model.name: "", **dict(_layer_names(parts))}
    layers, inputs = ([name for name, kind in kinds_of.items() if _is_input(kind) is one] for one in (False, True))
    names = {name: f"{what} {n}" for what, of in (("layer", layers), ("input", inputs)) for n, name in enumerate(of)}
    told = [kinds, type(model.optimizer).__qualname__, _kind_of(_settings_of(model.optimizer)), _plain(parts, names)]
    named = code.names & set(_strings(told))
    if not is_known:  # what its classes are given is not seen
        named |= {_MADE_BY}
        told.append(params)
    return _digest(told, code.reached_from(named).text if named else "")


def _settings_of(optimizer: Any) -> Mapping[str, Any]:
    return _plain(optimizer.get_config()) if optimizer is not None else {}


def _is_input(kind: Any) -> bool:
    """Whether a layer says nothing but a shape, which some models know only once they were called."""
    return bool(kind == "InputLayer")


def _layer_names(value: Any) -> Iterator[tuple[str, str]]:
    """With their kinds, in the order of a configuration: Keras numbers them through in each process."""
    if isinstance(value, Mapping):
        config = value.get("config")
        if isinstance(config, Mapping) and _NAME in config and value.get("class_name") != _POLICY:
            yield str(config[_NAME]), str(value.get("class_name"))
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _layer_names(part)


def _plain(value: Any, names: Mapping[str, str] | None = None) -> Any:
    """A configuration as JSON: functions by their code, and layers by `names`."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part, names) for name, part in value.items() if name not in _SHAPES}
    if isinstance(value, list | tuple):
        kinds = ((part, part.get("class_name") if isinstance(part, Mapping) else None) for part in value)
        return [_plain(part, names) for part, kind in kinds if not _is_input(kind)]
    if isinstance(value, str):
        code = _code_in(value)
        return (names or {}).get(value, value) if code is None else code
    if isinstance(value, int | float | None):
        return value
    if hasattr(value, "numpy") or hasattr(value, "tolist"):
        return np.asarray(value).tolist()
    if hasattr(value, "get_config"):
        return [type(value).__qualname__, _plain(value.get_config(), names)]
    return str(getattr(value, "__qualname__", None) or getattr(value, "name", None) or type(value).__qualname__)


def _code_in(text: str) -> Any:
    """What a function does that Keras wrote as a string with its file and its lines; None of any other string."""
    try:
        content = base64.b64decode(text.replace("\n", ""), validate=True)
        code = marshal.loads(content) if content[:1] in _CODE_OF_PYTHON else None  # noqa: S302 Keras just wrote it
    except (binascii.Error, EOFError, ValueError, TypeError):
        return None
    return _of_code(code) if isinstance(code, CodeType) else None


def _of_code(code: CodeType) -> list[Any]:
    constants = [_of_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _kind_of(value: Any) -> Any:
    """Settings in which numbers only say whether they are 0: others do not change which variables there are."""
    if isinstance(value, Mapping):
        return {
            name: "a schedule" if name == _RATE and isinstance(part, Mapping) else _kind_of(part)
            for name, part in value.items()
            if name != _NAME
        }
    return value != 0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name != _NAME:
                yield from _leaves(part, f"{path}.{name}" if path else str(name))
    else:
        yield path, float(f"{value:.6g}") if isinstance(value, float) else value  # it was float32


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, str):
        yield value


def _changes(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield f"{prefix}{name} is {_shown(name, now)}, was {_shown(name, before)}"


def _shown(name: str, values: Mapping[str, Any]) -> str:
    return repr(values[name]) if name in values else "not there"


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
