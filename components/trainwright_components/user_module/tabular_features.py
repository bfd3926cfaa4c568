"""Raw columns of any table as numbers and ids of categories, for model modules that learn their inputs from the schema.

Columns of one kind are handled together: a graph that grows by several operations per column would take minutes to
trace, export and convert for a table of a thousand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainwright_components.datasets.dates import DATE_ORDERS, DATE_PADDING, ISO_DATE
from trainwright_components.datasets.schema import Feature
from trainwright_components.datasets.statistics import ColumnStatistics
from trainwright_components.datasets.words import CHARACTER, NO_WORD
from trainwright_components.errors import InvalidData
from trainwright_components.user_module.module import Context

if TYPE_CHECKING:
    import tensorflow as tf

ONE_HOT_CATEGORIES = 32  # beyond this many, a category is an id to embed
DATE_PARTS = 13
_LONG_TAIL = 3.0  # times the middle 90 %; the largest of 10,000 numbers is at 1.2 of a normal, 8 of a lognormal column
_HASHES = 2**62  # few enough for int64, too many for two values of a column to meet


@dataclass(frozen=True, kw_only=True)
class TableSizes:
    """How wide each input is that `table_inputs` makes; 0 for one that it does not make.

    Args:
        row: Numbers side by side.
        ids: Columns of ids.
        categories: How many ids there are.
        words: Weights of words.
    """

    row: int
    ids: int
    categories: int
    words: int


def table_inputs(features: Mapping[str, "tf.Tensor"], context: Context) -> dict[str, "tf.Tensor"]:
    """The columns of a table as inputs of a model, without NaN.

    Args:
        features: Batched columns by name, as `preprocess` gets them.
        context: Whose schema and statistics say what the columns are.

    Returns:
        Those of three inputs, as wide as `table_sizes(context)` says, that the columns give something for.
        `row`, float32: a number scaled by the training split's mean and deviation; where its tail is long, beside it
        the logarithm of how far it is from the median; where the training split misses values, 1 for those; a category
        of up to `ONE_HOT_CATEGORIES` as one of them or nothing; a date as its day, the place in the year and in the day
        on a circle, the weekday, and 1 where it is missing.
        `ids`, int32: categories of more values, all in one range, with an id of its own per column for what is rare or
        absent in the training split.
        `words`, float32: TF-IDF of the words of texts, each text of length 1.
    """
    sizes, columns = table_sizes(context), _Columns.of(context)
    inputs = {}
    if sizes.row:
        inputs["row"] = _row(features, columns, context)
    if sizes.ids:
        inputs["ids"] = _ids(features, columns.embedded, context)
    if sizes.words:
        inputs["words"] = _word_weights(features, columns.texts, context)
    return inputs


def table_sizes(context: Context) -> TableSizes:
    """How wide the inputs are.

    Args:
        context: As `table_inputs` gets it.

    Returns:
        The width of each input.

    Raises:
        InvalidData: A column holds encoded images, or the training split has nothing to learn from.
    """
    columns = _Columns.of(context)
    scales = _Scales.of(columns.numbers, context)
    one_hot = sum(len(_categories(feature, context)) for feature in columns.one_hot)
    sizes = TableSizes(
        row=len(scales.center) + len(scales.tailed) + len(scales.gappy) + one_hot + DATE_PARTS * len(columns.dates),
        ids=len(columns.embedded),
        categories=sum(len(_frequent(feature, context)) + 1 for feature in columns.embedded),
        words=sum(len(_statistics(feature, context).words) for feature in columns.texts),
    )
    if not sizes.row + sizes.ids + sizes.words:
        names = ", ".join(map(repr, context.schema.feature_names))
        raise InvalidData(f"no two rows of the train split have a value or a word in common in {names}: add columns")
    return sizes


def _row(features: Mapping[str, "tf.Tensor"], columns: "_Columns", context: Context) -> "tf.Tensor":
    import tensorflow as tf

    parts = []
    if columns.numbers:
        parts += _scaled_numbers(features, _Scales.of(columns.numbers, context))
    if columns.one_hot:
        parts.append(_one_hot(features, columns.one_hot, context))
    if columns.dates:
        parts.append(_date_parts(_stacked(features, columns.dates), columns.dates, context))
    return tf.concat(parts, axis=1)


def _ids(features: Mapping[str, "tf.Tensor"], columns: Sequence[Feature], context: Context) -> "tf.Tensor":
    vocabularies = [_frequent(feature, context) for feature in columns]
    starts = np.cumsum([0, *(len(each) + 1 for each in vocabularies)])[:-1]
    return _find(_stacked(features, columns), vocabularies, first=starts + 1, unknown=starts)


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """The features by what becomes of them; numbers of one dtype lie together, scalars first."""

    numbers: tuple[Feature, ...]
    one_hot: tuple[Feature, ...]
    embedded: tuple[Feature, ...]
    dates: tuple[Feature, ...]
    texts: tuple[Feature, ...]

    @classmethod
    def of(cls, context: Context) -> "_Columns":
        features = context.schema.features
        for feature in features:
            if feature.kind == "image" and feature.dtype == "string":
                raise InvalidData(
                    f"feature {feature.name!r} is an encoded image; use an image module, or leave the column out"
                )
        dates = [each for each in features if each.dtype == "string" and _statistics(each, context).days]
        categorical = [each for each in features if each.kind == "categorical" and each not in dates]
        numbers = [each for each in features if each.dtype != "string"]
        return cls(
            numbers=tuple(sorted(numbers, key=_dtype_and_rank)),
            one_hot=tuple(each for each in categorical if len(each.vocabulary) <= ONE_HOT_CATEGORIES),
            embedded=tuple(each for each in categorical if len(each.vocabulary) > ONE_HOT_CATEGORIES),
            dates=tuple(sorted(dates, key=lambda each: _statistics(each, context).date_order)),
            texts=tuple(each for each in features if each.kind == "text" and each not in dates),
        )


def _dtype_and_rank(feature: Feature) -> tuple[bool, str]:
    return bool(feature.shape), feature.dtype


@dataclass(frozen=True, kw_only=True)
class _Scales:
    """How numbers are scaled, each an array over all elements of `columns`.

    Args:
        tailed: Indices of the elements with a long tail, which `median` and `spread` are of.
        gappy: Indices of the elements that are missing in some rows of the training split.
    """

    columns: tuple[Feature, ...]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    tailed: NDArray[np.int32]
    median: NDArray[np.float32]
    spread: NDArray[np.float32]
    gappy: NDArray[np.int32]

    @classmethod
    def of(cls, columns: tuple[Feature, ...], context: Context) -> "_Scales":
        elements = [each for feature in columns for each in [_statistics(feature, context)] * prod(feature.shape)]
        tailed = [index for index, each in enumerate(elements) if _has_long_tail(each)]
        return cls(
            columns=columns,
            center=_floats(each.mean or 0.0 for each in elements),
            scale=_floats(each.std or 1.0 for each in elements),
            tailed=np.array(tailed, np.int32),
            median=_floats(elements[index].quantiles["0.5"] for index in tailed),
            spread=_floats(_spread(elements[index]) for index in tailed),
            gappy=np.array([index for index, each in enumerate(elements) if each.missing], np.int32),
        )


def _floats(values: Iterable[float]) -> NDArray[np.float32]:
    return np.array([*values], np.float32)


def _statistics(feature: Feature, context: Context) -> ColumnStatistics:
    return context.statistics.split("train").column(feature.name)


def _spread(column: ColumnStatistics) -> float:
    """Of the middle of the column; of all of it where the middle is one value."""
    of = column.quantiles
    return (of["0.75"] - of["0.25"]) or (of["0.95"] - of["0.05"]) or column.std or 1.0


def _has_long_tail(column: ColumnStatistics) -> bool:
    if not column.quantiles or column.min is None or column.max is None:
        return False
    of = column.quantiles
    reach = max(column.max - of["0.5"], of["0.5"] - column.min)
    return reach > _LONG_TAIL * (of["0.95"] - of["0.05"]) and column.min < of["0.95"] and column.max > of["0.05"]


def _scaled_numbers(features: Mapping[str, "tf.Tensor"], scales: _Scales) -> list["tf.Tensor"]:
    import tensorflow as tf

    values = _stacked(features, scales.columns)
    missing = tf.math.is_nan(values)
    parts = [tf.where(missing, 0.0, (values - scales.center) / scales.scale)]
    if scales.tailed.size:
        apart = (tf.gather(values, scales.tailed, axis=1) - scales.median) / scales.spread
        apart = tf.where(tf.math.is_nan(apart), 0.0, apart)
        parts.append(tf.math.log(1.0 + tf.nn.relu(apart)) - tf.math.log(1.0 + tf.nn.relu(-apart)))
    if scales.gappy.size:
        parts.append(tf.cast(tf.gather(missing, scales.gappy, axis=1), tf.float32))
    return parts


def _stacked(features: Mapping[str, "tf.Tensor"], columns: Sequence[Feature]) -> "tf.Tensor":
    """The columns side by side, `(batch, elements)`: strings, or numbers as float32."""
    import tensorflow as tf

    parts = []
    for (has_shape, dtype), group in groupby(columns, key=_dtype_and_rank):
        tensors = [(features[each.name], prod(each.shape)) for each in group]
        if has_shape:
            part = tf.concat([tf.reshape(tensor, [-1, size]) for tensor, size in tensors], axis=1)
        else:
            part = tf.stack([tensor for tensor, _ in tensors], axis=1)
        parts.append(part if dtype == "string" else tf.cast(part, tf.float32))
    return tf.concat(parts, axis=1)


def _one_hot(features: Mapping[str, "tf.Tensor"], columns: Sequence[Feature], context: Context) -> "tf.Tensor":
    import tensorflow as tf

    vocabularies = [_categories(feature, context) for feature in columns]
    sizes = [len(each) for each in vocabularies]
    starts = np.cumsum([0, *sizes])[:-1]
    ids = _find(_stacked(features, columns), vocabularies, first=starts, unknown=np.full(len(columns), -1))
    by_slot = tf.gather(ids, np.repeat(np.arange(len(columns)), sizes), axis=1)
    return tf.cast(by_slot == np.arange(sum(sizes), dtype=np.int32), tf.float32)


def _date_parts(texts: "tf.Tensor", columns: Sequence[Feature], context: Context) -> "tf.Tensor":
    """`(batch, columns * DATE_PARTS)`, of one column after the other."""
    import tensorflow as tf

    texts = _in_iso_order(texts, [_statistics(each, context).date_order for each in columns])
    is_date = tf.strings.regex_full_match(texts, ISO_DATE)
    whole = tf.strings.join([tf.where(is_date, texts, "1970-01-01"), tf.constant("T00:00")])  # a time ends up behind

    def number(start: int, length: int) -> Any:
        return tf.strings.to_number(tf.strings.substr(whole, start, length), tf.int32)

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    is_date &= (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    minute = 60 * number(11, 2) + number(14, 2)
    days = _days_since_1970(year, month, day)
    train = [_statistics(each, context).days for each in columns]
    trend = (tf.cast(days, tf.float32) - _floats(each["mean"] for each in train)) / _floats(
        each["std"] or 1.0 for each in train
    )
    of_year = 2 * np.pi * tf.cast(31 * (month - 1) + day - 1, tf.float32) / (12 * 31)
    of_day = 2 * np.pi * tf.cast(minute, tf.float32) / (24 * 60)
    parts = [trend, tf.sin(of_year), tf.cos(of_year), tf.sin(of_day), tf.cos(of_day)]
    weekday = tf.one_hot((days + 3) % 7, 7)  # 1970-01-01 was a Thursday
    made = tf.concat([tf.stack(parts, axis=2), weekday], axis=2)
    missing = tf.cast(~is_date, tf.float32)[:, :, None]
    made = tf.concat([made * (1.0 - missing), missing], axis=2)
    return tf.reshape(made, [-1, len(columns) * DATE_PARTS])


def _in_iso_order(texts: "tf.Tensor", orders: Sequence[str]) -> "tf.Tensor":
    """Columns of dates, those of one order side by side, as ISO 8601 writes them."""
    import tensorflow as tf

    parts, start = [], 0
    for order, group in groupby(orders):
        end = start + len([*group])
        part = texts[:, start:end]
        for pattern, written in (DATE_ORDERS[order], *DATE_PADDING):
            part = tf.strings.regex_replace(part, pattern, written)
        parts.append(part)
        start = end
    return tf.concat(parts, axis=1)


def _days_since_1970(year: Any, month: Any, day: Any) -> Any:
    """Of the Gregorian calendar; years are counted from March on, so that a leap day is the last of its year."""
    since_march = (month + 9) % 12
    year = year - since_march // 10
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (306 * since_march + 5) // 10 + day - 1 - 719_468  # 0000-03-01 to 1970-01-01


def _categories(feature: Feature, context: Context) -> tuple[str, ...]:
    """Those that the training split has: of others nothing can be learnt."""
    train = _statistics(feature, context)
    seen = {*train.values, *([""] if train.missing else [])}
    return tuple(value for value in feature.vocabulary if value in seen)


def _frequent(feature: Feature, context: Context) -> tuple[str, ...]:
    """Categories of more than one row of the training split, among those that its statistics list."""
    train = _statistics(feature, context)
    return (*(value for value, count in train.values.items() if count > 1), *([""] if train.missing else []))


def _find(
    values: "tf.Tensor", vocabularies: Sequence[Sequence[str]], *, first: NDArray[Any], unknown: NDArray[Any]
) -> "tf.Tensor":
    """The place of each value in the vocabulary of its column, counted from its `first`, or its `unknown`.

    All columns are looked up at once, by hash in one sorted list: a lookup table would be a resource per trace.
    """
    import tensorflow as tf

    sizes = [len(each) for each in vocabularies]
    if not sum(sizes):
        return tf.zeros_like(values, tf.int32) + unknown.astype(np.int32)
    with tf.init_scope():  # these are constants of the graph
        hashes = _hashed([value for each in vocabularies for value in each]).numpy()
    keys = hashes + np.repeat(np.arange(len(sizes)), sizes)  # one value is another key in another column
    ids = np.concatenate([start + np.arange(size) for start, size in zip(first, sizes, strict=True)]).astype(np.int32)
    order = np.argsort(keys)
    keys, ids = keys[order], ids[order]
    asked = _hashed(values) + np.arange(len(sizes))
    places = tf.reshape(tf.searchsorted(keys, tf.reshape(asked, [-1])), tf.shape(asked))
    places = tf.minimum(places, len(keys) - 1)
    return tf.where(tf.gather(keys, places) == asked, tf.gather(ids, places), unknown.astype(np.int32))


def _hashed(values: Any) -> "tf.Tensor":
    import tensorflow as tf

    return tf.strings.to_hash_bucket_fast(values, _HASHES)


def _word_weights(features: Mapping[str, "tf.Tensor"], columns: Sequence[Feature], context: Context) -> "tf.Tensor":
    """As scikit-learn's TfidfVectorizer with its defaults makes them of the words that the statistics know.

    Only of Chinese and Japanese it would take all between two commas for a word; here each character is one.
    """
    import tensorflow as tf

    parts = []
    for feature in columns:
        train = _statistics(feature, context)
        known = len(train.words)
        texts = tf.strings.lower(features[feature.name], encoding="utf-8")
        spaced = tf.strings.regex_replace(tf.strings.regex_replace(texts, NO_WORD, " "), CHARACTER, r" \1 ")
        words = tf.strings.split(spaced)
        ids = _find(words.values[:, None], [tuple(train.words)], first=np.zeros(1), unknown=np.full(1, known))[:, 0]
        rows = tf.shape(texts)[0]
        slots = tf.cast(words.value_rowids(), tf.int32) * (known + 1) + ids
        counts = tf.math.unsorted_segment_sum(tf.ones_like(slots, tf.float32), slots, rows * (known + 1))
        rarity = np.log((1 + train.count) / (1 + np.array([*train.words.values()]))) + 1
        weights = tf.reshape(counts, [rows, known + 1])[:, :known] * rarity.astype(np.float32)
        parts.append(tf.math.l2_normalize(weights, axis=1))
    return tf.concat(parts, axis=1)
