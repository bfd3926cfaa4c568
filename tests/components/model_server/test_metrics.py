"""Metrics as Prometheus reads them from TensorFlow Serving."""

from pathlib import Path

import numpy as np
import pytest

from trainwright_components.model_server.metrics import Counter, Histogram, ServingMetrics, exponential_limits
from trainwright_components.model_server.models.loader import SavedModelLoader
from trainwright_components.model_server.servable import ServableId
from trainwright_components.model_server.status import StatusError


def test_a_counter_is_one_line_per_set_of_labels() -> None:
    counter = Counter("/tensorflow/serving/request_count", ("model_name", "status"))
    counter.add("m", "OK")
    counter.add("m", "OK", count=2)
    counter.add('qu"ote\\', "NOT_FOUND")
    assert counter.lines() == [
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 3',
        ':tensorflow:serving:request_count{model_name="qu\\"ote\\\\",status="NOT_FOUND"} 1',
    ]
    assert counter.total() == 4


def test_a_histogram_counts_what_is_below_each_limit() -> None:
    histogram = Histogram("/a/b-c", ("model",), (1, 10))
    for value in (0.5, 5, 6, 100):
        histogram.add("m", value=value)
    assert histogram.lines() == [
        "# TYPE :a:b:c histogram",
        ':a:b:c_bucket{model="m",le="1"} 1',
        ':a:b:c_bucket{model="m",le="10"} 3',
        ':a:b:c_bucket{model="m",le="+Inf"} 4',
        ':a:b:c_sum{model="m"} 111.5',
        ':a:b:c_count{model="m"} 4',
    ]


def test_latencies_reach_from_ten_microseconds_to_twenty_minutes() -> None:
    limits = exponential_limits(10, 1.8, 33)
    assert [f"{limit:g}" for limit in limits[:4]] == ["10", "18", "32.4", "58.32"]
    assert len(limits) == 33
    assert 20 * 60e6 < limits[-1] < 30 * 60e6


def test_requests_are_counted_with_their_status_and_timed_when_they_succeed() -> None:
    metrics = ServingMetrics()
    metrics.request_done("m", "Predict", "REST", "OK", 0.001)
    metrics.request_done("m", "Predict", "GRPC", "INVALID_ARGUMENT", 0.001)
    text = metrics.text()
    assert ':tensorflow:serving:request_count{model_name="m",status="INVALID_ARGUMENT"} 1\n' in text
    assert ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="REST"} 1\n' in text
    assert 'entrypoint="GRPC"' not in text
    assert "# TYPE :tensorflow:serving:batching_session:queuing_latency histogram\n" in text


def test_runs_of_graphs_are_counted(half: Path) -> None:
    metrics = ServingMetrics()
    model = SavedModelLoader(metrics=metrics, is_warmup_made_up=False).load(ServableId("m", 1), half)
    for _ in range(3):
        model.run("serving_default", {"x": np.ones(1, np.float32)}, ["y"])
    with pytest.raises(StatusError):
        model.run("serving_default", {"x": np.ones(1)}, ["y"])
    model.close()
    assert "# TYPE :tensorflow:core:graph_runs counter\n:tensorflow:core:graph_runs{} 3\n" in metrics.text()


def test_names_that_senders_make_up_do_not_fill_the_memory() -> None:
    counter = Counter("/c", ("model_name",))
    for number in range(5_000):
        counter.add(f"made up {number}")
    assert len(counter.lines()) <= 2_002
    assert counter.total() == 5_000


def test_the_page_is_byte_for_byte_what_dashboards_were_built_on() -> None:
    """TensorFlow Serving's names and limits: no HELP lines, no `_total` or `_created`, integers without `.0`."""
    metrics = ServingMetrics()
    metrics.request_done("m", "Predict", "REST", "OK", 0.001)
    metrics.request_done('qu"ote\\', "Predict", "GRPC", "NOT_FOUND", 0.001)
    metrics.runtime_latency.add("m", "Predict", "TF1", value=1234567.0)
    metrics.example_counts.add("m", value=3)
    metrics.example_count_total.add("m", count=3)
    metrics.warmup_latency.add("/models/m/1", "OK", value=25.5)
    metrics.queuing_latency.add("batch_threads", value=1e9)
    metrics.request_log_count.add("m", "OK")
    metrics.load_attempt_count.add("/models/m/1", "success")
    metrics.graph_runs.add()
    assert metrics.text() == Path(__file__).with_name("metrics.txt").read_text()
