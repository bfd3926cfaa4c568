"""What a dataset's rows hold: features, label, weight. Reads and writes schema.json; imports no TensorFlow."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.files import write_whole
from trainwright_components.hints import did_you_mean

SCHEMA_FILE = "schema.json"
SPLITS = ("train", "validation", "test")
FEATURE_KINDS = ("numeric", "categorical", "image", "text")
LABEL_KINDS = ("class", "multilabel", "number")
WHOLE_DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64")  # uint16 and wider: no JSON of TensorFlow Serving
DTYPES = ("float32", *WHOLE_DTYPES, "string")
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One named input of a model, as it is stored and as clients send it.

    Args:
        kind: `numeric`; `categorical` (strings of `vocabulary`); `text` (any string); `image`: encoded bytes when
            `dtype` is string, pixels when it is a number.
        dtype: `float32`, one of `WHOLE_DTYPES`, or `string`.
        shape: Of one row; empty for a scalar.
        vocabulary: The known values of a categorical feature, sorted; a missing value is the empty string.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, FEATURE_KINDS, owner=f"feature {self.name!r}")
        _check_choice("dtype", self.dtype, DTYPES, owner=f"feature {self.name!r}")

    @property
    def is_whole(self) -> bool:
        """Whether the values are integers or booleans."""
        return self.dtype in WHOLE_DTYPES

    @property
    def whole_range(self) -> tuple[int, int]:
        """The least and the greatest value of an integer or a boolean."""
        if self.dtype == "bool":
            return 0, 1
        bits = int(self.dtype.lstrip("uint"))
        return (0, 2**bits - 1) if self.dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a model predicts: a `class`, stored as int64 index into `class_names`; `multilabel`, independent answers of
    0 and 1, stored as int64; or a `number`, stored as float32.

    Args:
        shape: Of one row; empty for a scalar.
        value_names: What the values of a vector are called, in their order; empty where nobody named them.
        is_joined: Whether each value comes from a column of its own, called as it is.
        separator: What stands between the labels of a text, where the label is one.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    value_names: tuple[str, ...] = ()
    is_joined: bool = False
    separator: str = ""

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, LABEL_KINDS, owner=f"label {self.name!r}")
        _check_choice("dtype", self.dtype, DTYPES, owner=f"label {self.name!r}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the source that it is made of."""
        return self.value_names if self.is_joined else (self.name,)

    @property
    def statistics_names(self) -> tuple[str, ...]:
        """What the statistics of each value of `value_names` are called, beside those of all under `name`."""
        return self.value_names if self.is_joined else tuple(f"{self.name}.{each}" for each in self.value_names)


@dataclass(frozen=True, kw_only=True)
class History:
    """Features that are made of the labels of earlier rows.

    Args:
        label: The column of which they are made.
        time: The column by which the rows are in order.
        series: The column that tells several series apart; empty for one.
        lags: How many rows before that of a feature the label is taken from.
        windows: Of how many labels before the row a feature is the mean.
        season: How many rows later the series repeats itself; one of `lags`, or 0.
        day_first: Whether dates such as 3/4/2018 begin with the day, yes or no; empty where the times are no such
            dates, and `auto` while that is not settled. Tells nothing of the features.
    """

    label: str
    time: str
    series: str = ""
    lags: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    season: int = 0
    day_first: str = field(default="", compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that they are made of."""
        return (*((self.series,) if self.series else ()), self.time, self.label)

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return (*map(self.lag_name, self.lags), *map(self.mean_name, self.windows))

    @property
    def depth(self) -> int:
        """How many rows before its own a feature looks at, at most."""
        return max((*self.lags, *self.windows))

    @property
    def season_name(self) -> str:
        """The feature that holds the label of one season before; empty where there is no season."""
        return self.lag_name(self.season) if self.season else ""

    def lag_name(self, lag: int) -> str:
        """The label of `lag` rows before."""
        return f"{self.label}_lag_{lag}"

    def mean_name(self, window: int) -> str:
        """The mean of the labels of `window` rows before."""
        return f"{self.label}_mean_{window}"


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns of a dataset.

    Args:
        weight: The name of the float32 column with the weight of each row; none when absent.
        reading: How the text files that they come from were read, as `sources/reading.py` writes it, so that others are
            read alike; empty for other formats. Schemas that differ in nothing else are equal.
        left_out: Columns of the table that are not features since they name or count its rows.
        history: The features that are made of labels of earlier rows; None without.
    """

    features: tuple[Feature, ...]
    label: Label | None = None
    weight: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict, compare=False)
    left_out: tuple[str, ...] = ()
    history: History | None = None

    def __post_init__(self) -> None:
        names = list(self.column_names)
        if repeated := {name for name in names if names.count(name) > 1}:
            raise InvalidData(f"the schema names a column twice: {', '.join(sorted(repeated))}")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of all features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all stored columns: features, label, weight."""
        label = (self.label.name,) if self.label else ()
        weight = (self.weight,) if self.weight else ()
        return (*self.feature_names, *label, *weight)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; empty when the label is absent or a number."""
        return self.label.class_names if self.label else ()

    @property
    def value_names(self) -> tuple[str, ...]:
        """What a model answers about: the classes, or the labels or targets of several; empty for one number."""
        return (self.label.class_names or self.label.value_names) if self.label else ()

    def feature(self, name: str) -> Feature:
        """The feature called `name`.

        Raises:
            InvalidSetting: There is none.
        """
        for feature in self.features:
            if feature.name == name:
                return feature
        raise InvalidSetting(f"no feature is called {name!r}{did_you_mean(name, self.feature_names)}")

    def to_json(self) -> str:
        """The schema as the text of a schema.json."""
        content = {"version": FORMAT_VERSION, **asdict(self)}
        for name in ("reading", "history"):
            if not content[name]:
                del content[name]
        return json.dumps(content, indent=2) + "\n"

    def without_reading(self) -> "Schema":
        """The columns alone."""
        return replace(self, reading={})

    @classmethod
    def from_json(cls, text: str) -> "Schema":
        """The schema that `text` describes.

        Raises:
            InvalidData: `text` is not a schema.
        """
        try:
            content = json.loads(text)
            label, history = content.get("label"), content.get("history")
            return cls(
                features=tuple(Feature(**_with_tuples(feature)) for feature in content["features"]),
                label=Label(**_with_tuples(label)) if label else None,
                weight=content.get("weight"),
                reading=dict(content.get("reading") or {}),
                left_out=tuple(content.get("left_out", ())),
                history=History(**_with_tuples(history)) if history else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidData(f"not a schema: {type(error).__name__}: {error}") from error

    @classmethod
    def load(cls, dataset: Path) -> "Schema":
        """The schema in the folder `dataset`."""
        return cls.from_json(read_dataset_file(dataset, SCHEMA_FILE))

    def save(self, dataset: Path) -> None:
        """Write schema.json into the folder `dataset`."""
        write_whole(dataset / SCHEMA_FILE, self.to_json())


def read_dataset_file(dataset: Path, name: str) -> str:
    """The text of the file `name` of the prepared folder `dataset`.

    Raises:
        InvalidData: `dataset` is not a folder that prepare_data wrote.
    """
    try:
        return (dataset / name).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidData(
            f"{dataset} is not a prepared dataset: it has no {name}; make one with prepare_data"
        ) from error


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _check_choice(what: str, value: str, choices: tuple[str, ...], *, owner: str) -> None:
    if value not in choices:
        raise InvalidData(f"{owner}: {what} must be one of {', '.join(choices)}, got {value!r}")
