"""The order of examples: which rows make which global batch, and which part of it each replica takes.

Every pass over a split has one global order, a function of the seed and the number of the pass alone. Global batch k is
rows `k * size` to `(k + 1) * size` of it, however many replicas share it, so that any number of replicas takes the same
steps as one, and a resumed training sees what an uninterrupted one would have seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from trainwright_components.errors import InvalidData, InvalidSetting

if TYPE_CHECKING:
    import tensorflow as tf

_SEED_STRIDE = 7919  # keeps the buffer shuffles of neighbouring seeds and passes apart
_AHEAD = 2  # batches prepared while the last one trains


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Which replicas this input pipeline feeds.

    Args:
        replicas: Over all processes.
        first: The number of the first replica of this process.
        local: Replicas of this process.
    """

    replicas: int = 1
    first: int = 0
    local: int = 1


@dataclass(frozen=True, kw_only=True)
class Order:
    """How rows become batches.

    Args:
        seed: Of the shuffling; None keeps the stored order.
    """

    batch_size: int
    seed: int | None = None
    shuffle_buffer: int = 1
    drop_remainder: bool = False

    def steps(self, rows: int) -> int:
        """Global batches in one pass over `rows` rows."""
        return rows // self.batch_size if self.drop_remainder else -(-rows // self.batch_size)


class Rows(Protocol):
    """The examples of one split."""

    @property
    def count(self) -> int | None:
        """Rows in one pass; None when they never end."""

    def shares(self, number: "tf.Tensor", first_step: "tf.Tensor", order: Order, sharing: Sharing) -> "tf.data.Dataset":
        """Pass `number` from `first_step` on: one `(batch, global_rows, own_rows)` per local replica and step."""


@dataclass(frozen=True, kw_only=True)
class RowsInMemory:
    """All rows as tensors; shuffled as a whole."""

    columns: Any
    count: int

    def shares(self, number: "tf.Tensor", first_step: "tf.Tensor", order: Order, sharing: Sharing) -> "tf.data.Dataset":
        import tensorflow as tf

        places = tf.range(self.count)
        if order.seed is not None:
            seed = tf.stack([tf.constant(order.seed, tf.int64), number])
            places = tf.random.experimental.stateless_shuffle(places, seed)

        def share(position: "tf.Tensor") -> Any:
            step, replica = position // sharing.local, position % sharing.local + sharing.first
            begin = tf.cast(step, tf.int32) * order.batch_size
            rows = tf.minimum(order.batch_size, self.count - begin)
            start, own = _share(rows, tf.cast(replica, tf.int32), sharing.replicas)
            start = begin + tf.minimum(start, rows - 1)
            chosen = places[start : start + tf.maximum(own, 1)]
            return self._take(chosen), rows, own

        steps = order.steps(self.count)
        positions = tf.data.Dataset.range(first_step * sharing.local, steps * sharing.local)
        return positions.map(_plain(share), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _take(self, chosen: "tf.Tensor") -> Any:
        """The rows with the numbers `chosen`."""
        import tensorflow as tf

        taken: dict[int, tf.Tensor] = {}
        for places, table in self._tables:
            rows = tf.gather(table, chosen)
            taken |= zip(places, tf.unstack(rows, axis=1) if len(places) > 1 else [rows], strict=True)
        return tf.nest.pack_sequence_as(self.columns, [taken[place] for place in sorted(taken)])

    @cached_property
    def _tables(self) -> "list[tuple[list[int], tf.Tensor]]":
        """Columns of single values of one dtype side by side, whose rows one operation takes, and where they stood."""
        import tensorflow as tf

        columns = tf.nest.flatten(self.columns)
        alike: dict[str | int, list[int]] = {}
        for place, column in enumerate(columns):
            alike.setdefault(column.dtype.name if column.shape.rank == 1 else place, []).append(place)
        with tf.init_scope():  # asked for while a graph is made, and kept for the next
            return [
                (places, tf.stack([columns[place] for place in places], 1) if len(places) > 1 else columns[places[0]])
                for places in alike.values()
            ]


@dataclass(frozen=True, kw_only=True)
class StreamedRows:
    """Rows that are read again in each pass; shuffled within a buffer.

    Args:
        elements: Unbatched elements, cheap to read; every process reads all of them.
        decode: Makes examples of a batch of elements; done only for the rows of the own replicas.
    """

    elements: "tf.data.Dataset"
    decode: Callable[[Any], Any]
    count: int | None

    def shares(self, number: "tf.Tensor", first_step: "tf.Tensor", order: Order, sharing: Sharing) -> "tf.data.Dataset":
        import tensorflow as tf

        elements = self.elements
        if order.seed is not None:
            seed = tf.constant(order.seed * _SEED_STRIDE, tf.int64) + number
            tf.random.set_seed(1)  # of this graph alone: beside a global seed of 0, TensorFlow 2.21 takes no tensor
            elements = elements.shuffle(order.shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
        batches = elements.batch(order.batch_size, drop_remainder=order.drop_remainder).skip(first_step)

        def divide(*batch: Any) -> "tf.data.Dataset":
            whole = batch[0] if len(batch) == 1 else batch
            rows = tf.shape(tf.nest.flatten(whole)[0])[0]

            def share(replica: "tf.Tensor") -> Any:
                start, own = _share(rows, tf.cast(replica, tf.int32) + sharing.first, sharing.replicas)
                start = tf.minimum(start, rows - 1)
                part = tf.nest.map_structure(lambda column: column[start : start + tf.maximum(own, 1)], whole)
                return part, rows, own

            return tf.data.Dataset.range(sharing.local).map(_plain(share))

        def decoded(part: Any, rows: "tf.Tensor", own: "tf.Tensor") -> Any:
            return self.decode(part), rows, own

        parts = batches.flat_map(_plain(divide))
        return parts.map(_plain(decoded), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _share(rows: "tf.Tensor", replica: "tf.Tensor", replicas: int) -> "tuple[tf.Tensor, tf.Tensor]":
    """Where the part of `replica` starts among `rows` rows, and how many they are; parts differ by one row at most."""
    import tensorflow as tf

    base, extra = rows // replicas, rows % replicas
    return replica * base + tf.minimum(replica, extra), base + tf.cast(replica < extra, tf.int32)


def _plain(function: Callable[..., Any]) -> Any:
    """`function` for tf.data as it is; AutoGraph would take half a second of each start to translate all of ours."""
    import tensorflow as tf

    return tf.autograph.experimental.do_not_convert(function)


def endless_batches(
    rows: Rows,
    order: Order,
    sharing: Sharing,
    *,
    transform: Callable[[Any], Any],
    first_step: int = 0,
) -> "tf.data.Dataset":
    """Batches of pass after pass, for the replicas of this process in turn, from global step `first_step` on.

    `transform` makes what the model takes of a batch `(features, label, ...)`.

    Returns:
        With one replica: elements `(x,)`, `(x, y)` or `(x, y, weight)`. With several: `(those, global_rows, own_rows)`,
        where a share without a row of its own holds one row of another, to be given no weight. Without a partial batch,
        and when the replicas divide the batch, the number of rows is part of the shapes.
    """
    import tensorflow as tf

    steps = order.steps(rows.count) if rows.count is not None else None
    first_pass, offset = divmod(first_step, steps) if steps else (0, first_step)

    def one_pass(number: "tf.Tensor") -> "tf.data.Dataset":
        start = tf.where(number == first_pass, tf.constant(offset, tf.int64), tf.constant(0, tf.int64))
        return rows.shares(number, start, order, sharing)

    has_equal_shares = order.drop_remainder and order.batch_size % sharing.replicas == 0
    share_rows = order.batch_size // sharing.replicas

    def finish(batch: Any, global_rows: "tf.Tensor", own_rows: "tf.Tensor") -> Any:
        if has_equal_shares:  # XLA and TPUs compile for shapes
            batch = tf.nest.map_structure(lambda part: tf.ensure_shape(part, (share_rows, *part.shape[1:])), batch)
        data = transform(batch)
        return data if sharing.replicas == 1 else (data, global_rows, own_rows)

    passes = tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(_plain(one_pass))
    batches = passes.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    endless = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return endless.prefetch(_AHEAD * sharing.local)


def count_steps(rows: Rows, order: Order, *, split: str, at_most: int = 0) -> int:
    """Steps in an epoch: one pass over the rows, or `at_most` when given.

    Raises:
        InvalidData: There is no row.
        InvalidSetting: The rows never end and no number of steps is given, or they fill no batch.
    """
    if at_most:
        return at_most
    if rows.count is None:
        raise InvalidSetting(f"the {split} split of make_dataset never ends; set training.steps_per_epoch")
    if rows.count == 0:
        raise InvalidData(f"the {split} split has no rows")
    steps = order.steps(rows.count)
    if steps == 0:
        raise InvalidSetting(
            f"the {split} split has {rows.count} rows, fewer than training.batch_size {order.batch_size}, "
            "and training.drop_remainder leaves out partial batches"
        )
    return steps
