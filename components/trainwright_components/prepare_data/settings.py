"""What a person can say about how data is prepared, checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from trainwright_components.datasets.dates import DAY_FIRST_CHOICES
from trainwright_components.datasets.history import MAX_LABELS, MAX_WINDOW
from trainwright_components.datasets.schema import History
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.datasets.sources.values import ValueOptions
from trainwright_components.datasets.verdicts.given import Given
from trainwright_components.errors import InvalidSetting
from trainwright_components.settings import GIVEN_BY, check_choice, check_minimum, read_settings

TASKS = ("auto", "classification", "multilabel", "regression", "none")
DEFAULT_FRACTION = 0.15
DEFAULT_REFERENCE_ABOVE_MB = 1_024


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """How to prepare a source.

    Rows are split by a hash of their features (in each class alike when `stratify`), or of their position where more
    than half of them repeat the features of an earlier row, unless one of these is set:
    `key_column` (rows of one key stay together), `time_column` (the latest rows are the test), `split_column`,
    or `validation_source` and `test_source`. What the last two leave open is taken from the training rows.

    Args:
        label: The column to predict; the source's own when empty.
        labels: The columns to predict together, instead of `label`: all numbers, or all of 0 and 1, true and false, or
            yes and no (multilabel).
        label_separator: What stands between several labels in the texts of `label`, as the ; of sea;sky (multilabel).
        task: auto, classification, multilabel, regression, or none for data without a label.
        format: csv, jsonl, parquet, tfrecord, npz or images; found from the names of the files when empty.
        encoding: Of text files, such as utf-16 or cp1252; found from marks and zeros, else UTF-8.
        delimiter: Between the values of text files: one sign, or tab, or blanks for any run of them; found when empty.
        header: Whether the first line of text files names the columns: yes, no, or auto. Without, they are called
            column_1, column_2 and so on.
        decimal: The decimal sign of numbers in text files, `.` or `,`; found for each column when empty.
        thousands: What stands between thousands in text files: a comma, a dot, a blank or an apostrophe.
        missing: Texts that mean missing in every column of text files, such as ["NA", "-99"]; found for each column
            when absent.
        stray: What to do with single words in a column of numbers, of which it has 99 % at least: error, or missing.
        drop_unlabeled: Whether rows without a label are left out; else they are refused.
        validation_source: Rows for validation, when they are files of their own.
        test_source: Rows for the final test, when they are files of their own.
        validation_fraction: The share of rows for validation; 0 for none.
        test_fraction: The share of rows for the final test; 0 for none.
        stratify: Whether each class is split in the same shares.
        key_column: Rows with the same value here stay in one split; the column is not a feature.
        time_column: The latest rows by this column are the test, those before them the validation; it is not a feature.
        day_first: Whether dates such as 3/4/2018 in `time_column` begin with the day: yes, no, or auto, where a row
            such as 31/12/2018 has to tell.
        lags: Features made of the label: that of so many rows before, as in [1, 7]. For rows in the order of
            `time_column`, and a label of one number.
        windows: Features made of the label: its mean over so many rows before, as in [7].
        season: How many rows later the label repeats itself: that of one season before becomes a feature, and the
            baseline `seasonal naive`; 0 for none.
        series_column: The column that tells several series in one table apart, each with its own lags.
        split_column: The column that says train, validation or test (or val, dev, holdout ...); it is not a feature.
        weight_column: The column with the weight of each row.
        exclude: Columns that are not features.
        kinds: The kind of a column where its values do not tell (numeric, categorical, text or image), such as
            `{"zip": "categorical"}`.
        expected_schema: A schema.json or a prepared dataset that the data has to fit; its vocabularies and classes
            stay.
        reference_above_mb: TFRecord sources of at least this size are referred to and not copied.
        seed: Another number gives another split.
    """

    label: str = field(default="", metadata={GIVEN_BY: "label"})
    labels: tuple[str, ...] = ()
    label_separator: str = ""
    task: str = "auto"
    format: str = ""
    encoding: str = ""
    delimiter: str = ""
    header: str = "auto"
    decimal: str = ""
    thousands: str = ""
    missing: tuple[str, ...] | None = None
    stray: str = "error"
    drop_unlabeled: bool = False
    validation_source: str = ""
    test_source: str = ""
    validation_fraction: float = DEFAULT_FRACTION
    test_fraction: float = DEFAULT_FRACTION
    stratify: bool = True
    key_column: str = ""
    time_column: str = ""
    day_first: str = "auto"
    lags: tuple[int, ...] = ()
    windows: tuple[int, ...] = ()
    season: int = 0
    series_column: str = ""
    split_column: str = ""
    weight_column: str = ""
    exclude: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    expected_schema: str = ""
    reference_above_mb: int = DEFAULT_REFERENCE_ABOVE_MB
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.task, TASKS, where="data.task")
        check_choice(self.day_first, DAY_FIRST_CHOICES, where="data.day_first")
        DialectOptions(encoding=self.encoding, delimiter=self.delimiter, header=self.header)
        ValueOptions(decimal=self.decimal, thousands=self.thousands, stray=self.stray)
        check_minimum(self, where="data", minimum={"seed": None})
        for name in ("validation_fraction", "test_fraction"):
            if getattr(self, name) >= 1:
                raise InvalidSetting(f"data.{name} must be below 1, got {getattr(self, name)}")
        if self.validation_fraction + self.test_fraction >= 1:
            raise InvalidSetting(
                f"data.validation_fraction {self.validation_fraction} and data.test_fraction {self.test_fraction} "
                "leave nothing to train on; their sum must be below 1"
            )
        ways = [name for name in ("key_column", "time_column", "split_column") if getattr(self, name)]
        ways += [name for name in ("validation_source", "test_source") if getattr(self, name)][:1]
        if len(ways) > 1:
            raise InvalidSetting(
                f"{' and '.join(f'data.{name}' for name in ways)} are different ways to split; set one of them"
            )
        if not -(2**63) <= self.seed < 2**63:
            raise InvalidSetting(f"data.seed must fit in 64 bits, got {self.seed}")
        if self.day_first != "auto" and not self.time_column:
            raise InvalidSetting(f"data.day_first {self.day_first} is for data.time_column; set that, or leave it out")
        self._check_labels()
        self._check_history()
        for column in (*self.label_columns, self.weight_column):
            if column and column in (self.key_column, self.time_column, self.split_column, *self.exclude):
                raise InvalidSetting(f"{column!r} cannot be label or weight and also excluded or used to split")
        if self.weight_column and self.weight_column in self.label_columns:
            raise InvalidSetting(f"{self.weight_column!r} cannot be label and data.weight_column both")
        if self.label_columns and self.task == "none":
            named = f"label is {self.label!r}" if self.label else f"data.labels are {', '.join(self.labels)}"
            raise InvalidSetting(f"data.task none has no label, but {named}; leave one of them out")

    def _check_labels(self) -> None:
        if self.label and self.labels:
            raise InvalidSetting(
                f"label is {self.label!r} and data.labels are {', '.join(self.labels)}; name all columns to predict in "
                "data.labels and leave label empty"
            )
        if twice := sorted({name for name in self.labels if self.labels.count(name) > 1}):
            raise InvalidSetting(f"data.labels names {', '.join(map(repr, twice))} more than once")
        if "" in self.labels:
            raise InvalidSetting('data.labels holds an empty name; leave "" out')
        if self.labels and self.label_separator:
            raise InvalidSetting("data.label_separator is for the texts of one label; leave it or data.labels out")
        if self.label_separator and self.task not in ("auto", "classification", "multilabel"):
            raise InvalidSetting(f"data.label_separator makes a multilabel, but data.task is {self.task}")

    def _check_history(self) -> None:
        for name, most in (("lags", MAX_LABELS), ("windows", MAX_WINDOW)):
            for number in getattr(self, name):
                if not 1 <= number <= most:
                    raise InvalidSetting(
                        f"data.{name} must be numbers of rows before, from 1 to {most:,}, got {number}"
                    )
        if self.season > MAX_LABELS:
            raise InvalidSetting(f"data.season must be at most {MAX_LABELS:,}, got {self.season}")
        named = [f"data.{name}" for name in ("lags", "windows", "season") if getattr(self, name)]
        if not named:
            if self.series_column:
                raise InvalidSetting(
                    f"data.series_column {self.series_column!r} is for data.lags, data.windows and data.season; set "
                    "one of them, or leave it out"
                )
            return
        if not self.time_column:
            raise InvalidSetting(f"{named[0]} needs data.time_column: the column that puts the rows in order")
        if len(self.labels) > 1 or self.label_separator or self.task not in ("auto", "regression"):
            setting = "data.labels" if self.labels else "data.label_separator" if self.label_separator else "data.task"
            raise InvalidSetting(
                f"{named[0]} needs a label of one number (data.task=regression); leave it or {setting} out"
            )
        if self.series_column and self.series_column in (self.time_column, *self.label_columns):
            raise InvalidSetting(f"data.series_column {self.series_column!r} cannot be label or data.time_column too")

    def history(self, label: str) -> History | None:
        """The features that are made of earlier values of the column `label`."""
        lags = dict.fromkeys([*self.lags, *([self.season] if self.season else [])])
        if not lags and not self.windows:
            return None
        return History(
            label=label,
            time=self.time_column,
            series=self.series_column,
            lags=tuple(lags),
            windows=tuple(dict.fromkeys(self.windows)),
            season=self.season,
            day_first=self.day_first,
        )

    @property
    def task_of_label(self) -> str:
        """`task`, or `regression` where lags say so, whatever the values of the label look like."""
        return "regression" if self.lags or self.windows or self.season else self.task

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns to predict, as far as they are named."""
        return self.labels or ((self.label,) if self.label else ())

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, label: str = "") -> Self:
        """Settings from untyped values, and the column to predict.

        Raises:
            InvalidSetting: An unknown name, a value of the wrong type, or kinds of what is no feature.
        """
        settings = read_settings(cls, values, where="data", given={"label": label})
        check_kinds_of_features(settings.kinds, labels=settings.label_columns, weight=settings.weight_column)
        return settings

    @property
    def dialect(self) -> DialectOptions:
        """What is said about how text files are written."""
        return DialectOptions(encoding=self.encoding, delimiter=self.delimiter, header=self.header)

    @property
    def values(self) -> ValueOptions:
        """What is said about how the values of text files are written."""
        return ValueOptions(
            decimal=self.decimal,
            thousands=self.thousands,
            missing=self.missing,
            stray=self.stray,
            texts=frozenset(name for name, kind in self.kinds.items() if kind != "numeric"),
            keeps_strays=bool(self.expected_schema),
        )

    @property
    def given(self) -> Given:
        """What verdicts build their advice on."""
        ways = ("key_column", "time_column", "split_column", "validation_source", "test_source")
        return Given(
            exclude=tuple(self.exclude),
            kinds=self.kinds,
            way_to_split=next((name for name in ways if getattr(self, name)), ""),
            missing=self.missing,
        )

    @property
    def fractions(self) -> Mapping[str, float]:
        """The share of each split but train, of those that are wanted."""
        shares = {"test": self.test_fraction, "validation": self.validation_fraction}
        return {split: share for split, share in shares.items() if share > 0}


def check_kinds_of_features(kinds: Mapping[str, str], *, labels: Sequence[str], weight: str) -> None:
    """Raise `InvalidSetting` where `kinds` names a column that is no feature but has a kind of its own."""
    for name in kinds:
        if name in labels:
            raise InvalidSetting(
                f"data.kinds names the label {name!r}, but says what features are; say data.task=regression for a "
                "label of numbers, data.task=classification for one of classes"
            )
        if name == weight:
            raise InvalidSetting(f"data.kinds names data.weight_column {name!r}, which is numeric anyway; leave it out")
