"""Raw columns of any table as one row of numbers, for model modules that learn their inputs from the schema."""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from trainwright_components.datasets.schema import Feature
from trainwright_components.errors import InvalidData
from trainwright_components.user_module.module import Context

if TYPE_CHECKING:
    import tensorflow as tf

TEXT_BUCKETS = 256  # words of a text are counted in so many hashed groups


def features_as_row(features: Mapping[str, "tf.Tensor"], context: Context) -> "tf.Tensor":
    """Every feature side by side, in the order of the schema.

    A number is scaled by the training split's mean and deviation and followed by 1 where it is missing, a category is
    one of its vocabulary or nothing, a text is the counts of its hashed words.

    Args:
        features: Batched columns by name, as `preprocess` gets them.
        context: Whose schema and statistics say what the columns are.

    Returns:
        `(batch, row_width(context))` float32, without NaN.
    """
    import tensorflow as tf

    parts = [_part(feature, features[feature.name], context) for feature in context.schema.features]
    return tf.ensure_shape(tf.concat(parts, axis=1), [None, row_width(context)])


def row_width(context: Context) -> int:
    """How many numbers `features_as_row` makes of a row of the columns in `context`."""
    return sum(_width(feature) for feature in context.schema.features)


def _width(feature: Feature) -> int:
    if feature.kind == "categorical":
        return len(feature.vocabulary)
    if feature.kind == "text":
        return TEXT_BUCKETS
    if feature.dtype == "string":
        raise InvalidData(f"feature {feature.name!r} is an encoded image; use an image module, or leave the column out")
    return 2 * prod(feature.shape)


def _part(feature: Feature, values: "tf.Tensor", context: Context) -> "tf.Tensor":
    import tensorflow as tf

    if feature.kind == "categorical":
        return tf.cast(values[:, None] == tf.constant(feature.vocabulary)[None, :], tf.float32)
    if feature.kind == "text":
        return _word_counts(values)
    train = context.statistics.split("train").column(feature.name)
    flat = tf.reshape(tf.cast(values, tf.float32), [-1, prod(feature.shape)])
    scaled = (flat - (train.mean or 0.0)) / (train.std or 1.0)
    missing = tf.math.is_nan(scaled)
    return tf.concat([tf.where(missing, 0.0, scaled), tf.cast(missing, tf.float32)], axis=1)


def _word_counts(texts: "tf.Tensor") -> Any:
    import tensorflow as tf

    words = tf.strings.split(tf.strings.lower(texts)).to_tensor("")
    buckets = tf.strings.to_hash_bucket_fast(words, TEXT_BUCKETS)
    counts = tf.one_hot(buckets, TEXT_BUCKETS) * tf.cast(words != "", tf.float32)[..., None]
    return tf.reduce_sum(counts, axis=1)
