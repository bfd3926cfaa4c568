"""Counters and histograms under TensorFlow Serving's names, and the text in which Prometheus reads them."""

import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

_MAX_CELLS = 2_000  # names of models come from requests; a sender must not fill the memory with them
_OVERFLOW = "..."
_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_]")


def exponential_limits(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """Upper limits of `count` buckets, each `growth` times the one before; one more bucket takes what is above."""
    limits, limit = [], scale
    for _ in range(count):
        limits.append(limit)
        limit *= growth
    return tuple(limits)


LATENCY_LIMITS = exponential_limits(10, 1.8, 33)
"""Microseconds from 10 to about 20 minutes."""


class Counter:
    """A number that only grows, by values of its labels."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self.name = name
        self._labels = tuple(labels)
        self._cells: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, *values: str, count: int = 1) -> None:
        """Count `count` more."""
        with self._lock:
            key = _bounded(self._cells, values)
            self._cells[key] = self._cells.get(key, 0) + count

    def total(self) -> int:
        """The sum over all labels."""
        with self._lock:
            return sum(self._cells.values())

    def lines(self) -> list[str]:
        """Prometheus' text."""
        name = _prometheus_name(self.name)
        with self._lock:
            cells = sorted(self._cells.items())
        return [f"# TYPE {name} counter", *(f"{name}{{{_labels(self._labels, key)}}} {n}" for key, n in cells)]


class Histogram:
    """How often values fell between limits, by values of its labels."""

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float] = LATENCY_LIMITS) -> None:
        self.name = name
        self._labels = tuple(labels)
        self._limits = tuple(limits)
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def add(self, *values: str, value: float) -> None:
        """Take `value` in."""
        bucket = bisect_right(self._limits, value)
        with self._lock:
            key = _bounded(self._cells, values)
            cell = self._cells.get(key)
            if cell is None:
                cell = self._cells[key] = ([0] * (len(self._limits) + 1), [0.0])
            cell[0][bucket] += 1
            cell[1][0] += value

    def lines(self) -> list[str]:
        """Prometheus' text."""
        name = _prometheus_name(self.name)
        lines = [f"# TYPE {name} histogram"]
        limits = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        with self._lock:
            cells = sorted((key, list(buckets), total[0]) for key, (buckets, total) in self._cells.items())
        for key, buckets, total in cells:
            labels, below = _labels(self._labels, key), 0
            for limit, count in zip(limits, buckets, strict=True):
                below += count
                lines.append(f'{name}_bucket{{{labels},le="{limit}"}} {below}')
            lines += [f"{name}_sum{{{labels}}} {total:g}", f"{name}_count{{{labels}}} {below}"]
        return lines


class ServingMetrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        prefix = "/tensorflow/serving/"
        per_request = ("model_name", "API", "entrypoint")
        self.request_count = Counter(prefix + "request_count", ("model_name", "status"))
        self.request_latency = Histogram(prefix + "request_latency", per_request)
        self.runtime_latency = Histogram(prefix + "runtime_latency", ("model_name", "API", "runtime"))
        self.example_counts = Histogram(prefix + "request_example_counts", ("model",), exponential_limits(1, 2, 15))
        self.example_count_total = Counter(prefix + "request_example_count_total", ("model",))
        self.warmup_latency = Histogram(prefix + "model_warmup_latency", ("model_path", "status"))
        self.queuing_latency = Histogram(
            prefix + "batching_session/queuing_latency", ("thread_pool_name",), exponential_limits(100, 1.2, 52)
        )
        self.request_log_count = Counter(prefix + "request_log_count", ("model_name", "status"))
        self.load_attempt_count = Counter("/tensorflow/cc/saved_model/load_attempt_count", ("model_path", "status"))
        self.graph_runs = Counter("/tensorflow/core/graph_runs", ())
        self._all: list[Counter | Histogram] = sorted(
            (metric for metric in vars(self).values() if isinstance(metric, Counter | Histogram)),
            key=lambda metric: metric.name,
        )

    def request_done(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Count a request that was answered; latencies are those of answers that are not errors."""
        self.request_count.add(model, status)
        if status == "OK":
            self.request_latency.add(model, api, entrypoint, value=seconds * 1e6)

    def totals(self, names: Iterable[str]) -> dict[str, int]:
        """The sums of the counters among `names`."""
        counters = {metric.name: metric for metric in self._all if isinstance(metric, Counter)}
        return {name: counters[name].total() for name in names if name in counters}

    def text(self) -> str:
        """The page that Prometheus reads."""
        return "\n".join(line for metric in self._all for line in metric.lines()) + "\n"


def _bounded(cells: Mapping[tuple[str, ...], object], values: tuple[str, ...]) -> tuple[str, ...]:
    return values if values in cells or len(cells) < _MAX_CELLS else (_OVERFLOW,) * len(values)


def _prometheus_name(name: str) -> str:
    return _NOT_IN_NAME.sub(":", name)


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
