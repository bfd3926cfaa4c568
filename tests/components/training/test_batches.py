"""Every example once per pass, in one order, whatever the number of replicas and wherever a training run begins."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.training.data.batches import (
    Order,
    Rows,
    RowsInMemory,
    Sharing,
    StreamedRows,
    count_steps,
    endless_batches,
)


def in_memory(count: int) -> Rows:
    return RowsInMemory(columns=({"n": tf.range(count)}, tf.range(count)), count=count)


def streamed(count: int) -> Rows:
    return StreamedRows(
        elements=tf.data.Dataset.range(count), decode=lambda n: ({"n": tf.cast(n, tf.int32)}, n), count=count
    )


both = pytest.mark.parametrize("rows_of", [in_memory, streamed])


def global_batches(rows: Rows, order: Order, replicas: int, *, passes: int = 1, first_step: int = 0) -> list[list[int]]:
    """What all replicas of as many processes train on together, step by step; padding is left out."""
    assert rows.count is not None
    steps = passes * order.steps(rows.count) - first_step
    batches: list[list[int]] = [[] for _ in range(steps)]
    for replica in range(replicas):
        sharing = Sharing(replicas=replicas, first=replica, local=1)
        dataset = endless_batches(rows, order, sharing, transform=lambda batch: batch, first_step=first_step)
        for batch, element in zip(batches, dataset.take(steps), strict=True):
            data, own = (element[0], int(element[2])) if replicas > 1 else (element, None)
            batch += data[1].numpy()[:own].tolist()
    return batches


@both
@pytest.mark.parametrize(("count", "replicas"), [(1, 1), (1, 2), (12, 2), (13, 1), (13, 5)])
def test_each_row_comes_exactly_once_in_each_pass(rows_of: Any, count: int, replicas: int) -> None:
    order = Order(batch_size=4, seed=3, shuffle_buffer=100)
    batches = global_batches(rows_of(count), order, replicas, passes=2)
    half = len(batches) // 2
    for one_pass in (batches[:half], batches[half:]):
        assert sorted(row for batch in one_pass for row in batch) == list(range(count))


@both
def test_the_global_batches_do_not_depend_on_the_replicas(rows_of: Any) -> None:
    order = Order(batch_size=4, seed=3, shuffle_buffer=5)
    assert global_batches(rows_of(13), order, 3, passes=2) == global_batches(rows_of(13), order, 1, passes=2)


@both
@pytest.mark.parametrize("first_step", [1, 4, 6])
def test_a_training_that_goes_on_sees_what_it_would_have_seen(rows_of: Any, first_step: int) -> None:
    order = Order(batch_size=4, seed=11, shuffle_buffer=6)
    whole = global_batches(rows_of(13), order, 2, passes=3)
    assert global_batches(rows_of(13), order, 2, passes=3, first_step=first_step) == whole[first_step:]


@both
def test_passes_and_seeds_differ_and_repeat(rows_of: Any) -> None:
    def order_of(seed: int) -> list[list[int]]:
        return global_batches(rows_of(13), Order(batch_size=13, seed=seed, shuffle_buffer=13), 1, passes=3)

    first, second, third = order_of(1)
    assert first != second != third != first
    assert order_of(1) == [first, second, third]
    assert order_of(2) != [first, second, third]


@both
def test_a_global_seed_does_not_matter(rows_of: Any) -> None:
    """Zero is the default seed of a training run, and one that TensorFlow mistakes."""

    def batches_with(seed: int) -> list[list[int]]:
        tf.random.set_seed(seed)
        return global_batches(rows_of(13), Order(batch_size=4, seed=0, shuffle_buffer=5), 1)

    assert batches_with(0) == batches_with(7)


@both
def test_without_a_seed_the_stored_order_stays(rows_of: Any) -> None:
    assert global_batches(rows_of(5), Order(batch_size=3), 2) == [[0, 1, 2], [3, 4]]


@both
def test_the_partial_batch_can_be_left_out(rows_of: Any) -> None:
    batches = global_batches(rows_of(10), Order(batch_size=4, drop_remainder=True), 1, passes=2)
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2


@both
def test_equal_shares_have_fixed_shapes(rows_of: Any) -> None:
    """As a TPU needs them; else the number of rows is open."""
    for batch_size, drop_remainder, expected in [(8, True, 4), (8, False, None), (9, True, None)]:
        order = Order(batch_size=batch_size, drop_remainder=drop_remainder)
        dataset = endless_batches(rows_of(20), order, Sharing(replicas=2), transform=lambda batch: batch)
        features, labels = dataset.element_spec[0]
        assert features["n"].shape.as_list() == labels.shape.as_list() == [expected]
        assert len(next(iter(dataset))[0][1]) == -(-batch_size // 2)


@both
def test_two_replicas_of_one_process_take_turns(rows_of: Any) -> None:
    dataset = endless_batches(
        rows_of(5), Order(batch_size=3), Sharing(replicas=2, first=0, local=2), transform=lambda batch: batch
    )
    shares = [(data[1].numpy().tolist(), int(rows), int(own)) for data, rows, own in dataset.take(4)]
    assert shares == [([0, 1], 3, 2), ([2], 3, 1), ([3], 2, 1), ([4], 2, 1)]


@both
def test_an_empty_share_holds_one_row_that_does_not_count(rows_of: Any) -> None:
    sharing = Sharing(replicas=3, first=2, local=1)
    ((data, rows, own),) = endless_batches(
        rows_of(2), Order(batch_size=4), sharing, transform=lambda batch: batch
    ).take(1)
    assert (len(data[1]), int(rows), int(own)) == (1, 2, 0)


def test_large_numbers_are_shuffled_well() -> None:
    (batch,) = global_batches(in_memory(1000), Order(batch_size=1000, seed=0), 1)
    assert abs(np.corrcoef(batch, range(1000))[0, 1]) < 0.1


def test_steps_in_an_epoch() -> None:
    order = Order(batch_size=4)
    assert count_steps(in_memory(13), order, split="train") == 4
    assert count_steps(in_memory(13), order, split="train", at_most=2) == 2


def test_rows_that_make_no_epoch_are_refused() -> None:
    with pytest.raises(InvalidData, match="the train split has no rows"):
        count_steps(streamed(0), Order(batch_size=4), split="train")
    with pytest.raises(InvalidSetting, match=r"has 3 rows, fewer than training\.batch_size 4"):
        count_steps(in_memory(3), Order(batch_size=4, drop_remainder=True), split="train")
    endless = StreamedRows(elements=tf.data.Dataset.range(3).repeat(), decode=lambda n: n, count=None)
    with pytest.raises(InvalidSetting, match=r"never ends; set training\.steps_per_epoch"):
        count_steps(endless, Order(batch_size=4), split="train")


def test_columns_of_any_kind_keep_their_rows_together() -> None:
    number = tf.range(12)
    features = {
        "a": tf.cast(number, tf.float32),
        "b": tf.cast(number * 10, tf.float32),
        "s": tf.strings.as_string(number),
        "v": tf.stack([number, -number], axis=1),
    }
    rows = RowsInMemory(columns=(features, number), count=12)
    dataset = endless_batches(rows, Order(batch_size=5, seed=1), Sharing(), transform=lambda batch: batch)
    seen = []
    for given, label in dataset.take(3).as_numpy_iterator():
        assert given["a"].tolist() == label.tolist()
        assert given["b"].tolist() == (label * 10).tolist()
        assert given["s"].tolist() == [b"%d" % each for each in label]
        assert given["v"].tolist() == [[each, -each] for each in label]
        seen += label.tolist()
    assert sorted(seen) == list(range(12))
