"""The page about a batch of predictions: how many of what, how sure, and the first rows."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from trainwright_components.batch_predict.answers import PREDICTION, PROBABILITY
from trainwright_components.datasets.accumulate import NumberAccumulator
from trainwright_components.datasets.chunks import Column
from trainwright_components.reports import Cell, Report

_SHOWN_ROWS = 20
_SHOWN_COLUMNS = 12


class PredictionSummary:
    """Gathers what the page shows, in bounded memory."""

    def __init__(self, source: str) -> None:
        self._source, self._rows = source, 0
        self._classes: Counter[str] = Counter()
        self._numbers, self._probabilities = NumberAccumulator(), NumberAccumulator()
        self._values: dict[str, NumberAccumulator] = {}
        self._first: list[dict[str, Cell]] = []

    def add(self, answers: Mapping[str, Column]) -> None:
        """Take the answers of more rows."""
        first = next(iter(answers.values()))
        self._rows += len(first)
        for row in range(min(_SHOWN_ROWS - len(self._first), len(first))):
            self._first.append({name: _cell(column[row]) for name, column in list(answers.items())[:_SHOWN_COLUMNS]})
        if PREDICTION not in answers:
            for name in answers:
                if name.startswith((f"{PREDICTION}_", f"{PROBABILITY}_")):
                    self._values.setdefault(name, NumberAccumulator()).add(answers[name])
            return
        predictions = answers[PREDICTION]
        if predictions.dtype == object:
            self._classes.update(map(str, predictions.ravel().tolist()))
        else:
            self._numbers.add(predictions)
        if PROBABILITY in answers:
            self._probabilities.add(answers[PROBABILITY])

    def report(self) -> Report:
        """The page."""
        report = Report(f"Predictions for {self._source}").add_text(f"{self._rows:,} rows were scored.")
        if self._classes:
            report.add_heading("Predicted classes")
            report.add_table(
                [(name, count, count / self._rows) for name, count in self._classes.most_common(50)],
                header=["class", "rows", "share"],
            )
        if self._values:
            report.add_heading("Labels and targets")
            found = {name: accumulator.result() for name, accumulator in self._values.items()}
            report.add_table(
                [(name, each.mean, each.std, each.min, each.max) for name, each in found.items()],
                header=["column", "mean", "std", "min", "max"],
            )
        self._add_histogram(report, self._numbers, "Predicted numbers")
        self._add_histogram(report, self._probabilities, "Probability of the predicted class")
        if self._first:
            report.add_heading("First rows")
            report.add_table([list(row.values()) for row in self._first], header=list(self._first[0]))
        return report

    def _add_histogram(self, report: Report, numbers: NumberAccumulator, title: str) -> None:
        from matplotlib.figure import Figure

        column = numbers.result()
        if not column.histogram_counts:
            return
        figure = Figure(figsize=(6, 2.5), layout="constrained")
        axis = figure.subplots()
        axis.stairs(column.histogram_counts, column.histogram_edges, fill=True)
        report.add_heading(title)
        report.add_mapping({"mean": column.mean, "std": column.std, "min": column.min, "max": column.max})
        report.add_figure(figure)


def _cell(value: object) -> Cell:
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=4, threshold=8)
    return float(value) if isinstance(value, np.floating | float) else str(value)
