"""Requests computed together: joining, padding, splitting, limits and messages, with a servable that counts."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from trainwright_components.model_server.batching.parameters import BatchingParameters
from trainwright_components.model_server.batching.scheduler import BatchScheduler
from trainwright_components.model_server.batching.servable import BatchedServable, why_not_batched
from trainwright_components.model_server.models.saved_model import SavedModel
from trainwright_components.model_server.request_context import computing, current_request
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError


def make_signature(**tensors: tuple[str, Sequence[int]]) -> Any:
    """A signature of float32 tensors given as kind ("in" or "out") and shape."""
    signature = meta_graph_pb2.SignatureDef()
    for alias, (kind, shape) in tensors.items():
        info = (signature.inputs if kind == "in" else signature.outputs)[alias]
        info.name, info.dtype = f"{alias}:0", types_pb2.DT_FLOAT
        for size in shape:
            info.tensor_shape.dim.add(size=size)
    return signature


class Doubler:
    """Doubles x, row by row, when `may_run` is set; remembers the batches it saw."""

    def __init__(self) -> None:
        self.signatures: Mapping[str, Any] = {
            "double": make_signature(x=("in", [-1, -1]), y=("out", [-1, -1])),
            "scalar": make_signature(x=("in", [-1]), y=("out", [])),
            "unsaid": make_signature(x=("in", [-1]), y=("out", [-1])),
        }
        self.batches: list[Any] = []
        self.deadlines: list[float | None] = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.is_running = threading.Event()

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        self.is_running.set()
        assert self.may_run.wait(60)
        self.batches.append(inputs["x"])
        self.deadlines.append(current_request().deadline)
        if signature_name == "scalar":
            return {"y": inputs["x"].sum()}
        if signature_name == "unsaid":
            return {"y": inputs["x"][:1]}
        return {"y": inputs["x"] * 2}

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        raise AssertionError("no test asks for several signatures")

    def is_quick(self, signature_name: str) -> bool:
        return False

    def close(self) -> None:
        """Hold nothing."""


if TYPE_CHECKING:
    _: type[Servable] = Doubler


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


@pytest.fixture
def pool(doubler: Doubler) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor
        doubler.may_run.set()


Batched = Callable[..., BatchedServable]


@pytest.fixture
def batched(doubler: Doubler, scheduler: BatchScheduler) -> Batched:
    """Batch the doubler with given parameters."""

    def make(**parameters: Any) -> BatchedServable:
        return BatchedServable(doubler, scheduler, replace(BatchingParameters(), **parameters))

    return make


def rows(count: int, start: float = 0, width: int = 2) -> Any:
    return np.arange(start, start + count * width, dtype=np.float32).reshape(count, width)


def double(servable: BatchedServable, x: Any, signature: str = "double") -> Any:
    return servable.run(signature, {"x": x}, ["y"])["y"]


def queued_behind_one(
    servable: BatchedServable, doubler: Doubler, pool: ThreadPoolExecutor, sizes: Sequence[int]
) -> Any:
    """Futures of requests that all wait while the one before them is computed."""
    doubler.may_run.clear()
    first = pool.submit(double, servable, rows(1))
    assert doubler.is_running.wait(60)
    queue = next(iter(servable._queues.values()))
    futures = []
    for index, size in enumerate(sizes):
        before = sum(batch.size for batch in queue._batches)
        futures.append(pool.submit(double, servable, rows(size, 100.0 * (index + 1))))
        while sum(batch.size for batch in queue._batches) == before and not futures[-1].done():
            threading.Event().wait(0.001)
    return first, futures


def test_requests_that_wait_are_computed_at_once_and_get_their_own_rows(
    doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor
) -> None:
    servable = batched(max_batch_size=8)
    _, futures = queued_behind_one(servable, doubler, pool, [1, 2, 3])
    doubler.may_run.set()
    for index, size in enumerate([1, 2, 3]):
        np.testing.assert_array_equal(futures[index].result(60), rows(size, 100.0 * (index + 1)) * 2)
    assert [len(batch) for batch in doubler.batches] == [1, 6]


def test_a_batch_is_never_larger_than_allowed(doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor) -> None:
    servable = batched(max_batch_size=4)
    _, futures = queued_behind_one(servable, doubler, pool, [3, 2, 2, 4])
    doubler.may_run.set()
    for future in futures:
        future.result(60)
    assert [len(batch) for batch in doubler.batches] == [1, 3, 4, 4]


def test_a_full_batch_does_not_wait_for_the_timeout(
    doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor
) -> None:
    servable = batched(max_batch_size=2, batch_timeout_s=3600.0)
    futures = [pool.submit(double, servable, rows(1, start)) for start in (0.0, 10.0)]
    assert [future.result(60)[0, 0] for future in futures] == [0.0, 20.0]
    assert [len(batch) for batch in doubler.batches] == [2]


def test_a_batch_is_filled_up_to_an_allowed_size_with_the_first_row_of_its_last_request(
    doubler: Doubler, batched: Batched
) -> None:
    servable = batched(max_batch_size=8, allowed_batch_sizes=(4, 8))
    np.testing.assert_array_equal(double(servable, rows(3)), rows(3) * 2)
    np.testing.assert_array_equal(doubler.batches[0], [[0, 1], [2, 3], [4, 5], [0, 1]])


def test_inputs_of_different_lengths_are_padded_with_their_first_value(
    doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor
) -> None:
    servable = batched(max_batch_size=2, batch_timeout_s=3600.0, pads_variable_length_inputs=True)
    short, long = np.array([[7.0]], np.float32), np.array([[1.0, 2.0, 3.0]], np.float32)
    futures = [pool.submit(double, servable, x) for x in (short, long)]
    assert {future.result(60).shape for future in futures} == {(1, 3)}
    assert sorted(doubler.batches[0].tolist()) == [[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]]


def test_inputs_of_different_lengths_are_refused_where_padding_is_off(
    doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor
) -> None:
    servable = batched(max_batch_size=2, batch_timeout_s=3600.0)
    futures = [pool.submit(double, servable, rows(1, width=width)) for width in (1, 3)]
    errors = [future.exception(60) for future in futures]
    assert all(isinstance(error, StatusError) and error.code is Code.FAILED_PRECONDITION for error in errors)
    assert str(errors[0]).startswith(
        "FAILED_PRECONDITION: Tensors with name 'x:0' from different tasks have different shapes and padding is turned "
        "off.Set pad_variable_length_inputs to true, or ensure that all tensors with the same namehave equal"
    )


def test_a_large_request_is_computed_in_parts_where_that_is_switched_on(doubler: Doubler, batched: Batched) -> None:
    servable = batched(max_batch_size=10, splits_large_batches=True, max_execution_batch_size=4)
    np.testing.assert_array_equal(double(servable, rows(10)), rows(10) * 2)
    assert [len(batch) for batch in doubler.batches] == [4, 4, 2]


def refusal(call: Callable[[], Any]) -> tuple[Code, str]:
    with pytest.raises(StatusError) as refused:
        call()
    return refused.value.code, refused.value.message


def test_a_request_larger_than_a_batch_is_refused(batched: Batched) -> None:
    servable = batched(max_batch_size=4)
    assert refusal(lambda: double(servable, rows(5))) == (
        Code.INVALID_ARGUMENT,
        "Task size 5 is larger than maximum input batch size 4",
    )


def test_a_full_queue_refuses_at_once(doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor) -> None:
    servable = batched(max_batch_size=2, max_enqueued_batches=2)
    _, futures = queued_behind_one(servable, doubler, pool, [2, 2])
    assert refusal(lambda: double(servable, rows(1))) == (
        Code.UNAVAILABLE,
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2",
    )
    doubler.may_run.set()
    for future in futures:
        future.result(60)


def test_a_full_queue_of_parts_says_how_much_it_takes(
    doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor
) -> None:
    servable = batched(max_batch_size=8, max_enqueued_batches=2, splits_large_batches=True, max_execution_batch_size=2)
    queued_behind_one(servable, doubler, pool, [3])
    assert refusal(lambda: double(servable, rows(4))) == (
        Code.UNAVAILABLE,
        "The batch scheduling queue to which this task was submitted is full; task size is 4 but scheduling capacity "
        "is only 1 (num_enqueued_batches=2, max_enqueued_batches=2, open_batch_size=1, max_execution_batch_size=2)",
    )


def test_a_request_whose_time_is_over_is_not_computed(batched: Batched, doubler: Doubler) -> None:
    servable = batched()
    with computing("Predict", timeout_s=0.0):
        assert refusal(lambda: double(servable, rows(1))) == (
            Code.RESOURCE_EXHAUSTED,
            "Run() timeout exceeded while waiting in batching queue",
        )
    assert not doubler.batches


@pytest.mark.parametrize(("timeouts_s", "expected"), [((50.0, 100.0), 100.0), ((50.0, None), None)])
def test_a_batch_is_computed_until_the_last_of_its_deadlines(
    doubler: Doubler,
    batched: Batched,
    pool: ThreadPoolExecutor,
    timeouts_s: Sequence[float | None],
    expected: float | None,
) -> None:
    servable = batched(max_batch_size=2, batch_timeout_s=3600.0)

    def ask(timeout_s: float | None) -> None:
        with computing("Predict", timeout_s):
            double(servable, rows(1))

    before = time.monotonic()
    for future in [pool.submit(ask, timeout_s) for timeout_s in timeouts_s]:
        future.result(60)
    (deadline,) = doubler.deadlines
    assert (deadline is None) == (expected is None)
    if deadline is not None and expected is not None:
        assert before + expected <= deadline <= time.monotonic() + expected


def test_a_request_that_takes_too_long_holds_up_no_other_model(
    doubler: Doubler, scheduler: BatchScheduler, half: Path, pool: ThreadPoolExecutor
) -> None:
    slow = BatchedServable(SavedModel(half), scheduler, BatchingParameters())
    other = BatchedServable(doubler, scheduler, BatchingParameters())

    def ask_for_too_much() -> None:
        with computing("Predict", timeout_s=0.1):
            slow.run("slow", {"seconds": np.array([120.0])}, ["turns"])

    too_slow = pool.submit(ask_for_too_much)
    while not slow._queues:
        threading.Event().wait(0.001)
    np.testing.assert_array_equal(pool.submit(double, other, rows(1)).result(60), rows(1) * 2)
    assert refusal(lambda: too_slow.result(60)) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    slow.close()


def test_a_request_of_a_wrong_type_is_refused_alone(
    scheduler: BatchScheduler, half: Path, pool: ThreadPoolExecutor
) -> None:
    model = SavedModel(half)
    servable = BatchedServable(model, scheduler, BatchingParameters(max_batch_size=2, batch_timeout_s=3600.0))

    def ask(x: Any) -> Any:
        return pool.submit(servable.run, "serving_default", {"x": x}, ["y"])

    good = [ask(np.ones(1, np.float32))]
    for wrong in (np.array([b"text"], object), np.array([2**40]), np.ones(1)):
        expected = refusal(partial(model.run, "serving_default", {"x": wrong}, ["y"]))
        assert refusal(partial(ask(wrong).result, 60)) == expected
        assert "vs. expect float" in expected[1]
    good.append(ask(np.ones(1, np.float32)))
    assert [future.result(60)["y"].tolist() for future in good] == [[2.5]] * 2
    servable.close()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": rows(1), "z": rows(2)}, "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)
def test_requests_without_rows_are_refused(batched: Batched, inputs: dict[str, Any], message: str) -> None:
    assert refusal(lambda: batched().run("double", inputs, ["y"])) == (Code.INVALID_ARGUMENT, message)


def test_outputs_must_have_a_row_per_row_of_input(batched: Batched) -> None:
    code, message = refusal(lambda: double(batched(), np.zeros(3, np.float32), "unsaid"))
    assert code is Code.FAILED_PRECONDITION
    assert message.startswith("Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes")


def test_a_signature_that_cannot_be_batched_is_named_at_load_and_answers_alone(
    batched: Batched, caplog: pytest.LogCaptureFixture
) -> None:
    servable = batched()
    assert "requests of signature 'scalar' are computed one by one" in caplog.text
    assert "its output 'y' is a scalar" in caplog.text
    assert double(servable, np.ones(3, np.float32), "scalar") == 3.0


def test_shapes_that_rule_batching_out_are_found() -> None:
    assert why_not_batched(make_signature(x=("in", [1, 2]), y=("out", [-1]))) == (
        "the first dimension of its input 'x' is always 1"
    )
    assert why_not_batched(make_signature(y=("out", [-1]))) == "it has no inputs"
    assert not why_not_batched(make_signature(x=("in", [-1, 2]), y=("out", [-1])))


def test_closing_answers_what_waits(doubler: Doubler, batched: Batched, pool: ThreadPoolExecutor) -> None:
    servable = batched(max_batch_size=4, batch_timeout_s=3600.0)
    future = pool.submit(double, servable, rows(1))
    while not servable._queues or next(iter(servable._queues.values())).is_empty:
        threading.Event().wait(0.001)
    servable.close()
    np.testing.assert_array_equal(future.result(60), rows(1) * 2)
