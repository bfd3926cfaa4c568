"""Early stopping knows which way a metric is good, and its patience survives a restart."""

import numpy as np
import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_components.training.early_stopping import EarlyStopping


def course(stopping: EarlyStopping, values: list[float], *, first: int = 0) -> int | None:
    """The epoch at which it stops."""
    for epoch, value in enumerate(values, start=first):
        metrics = {stopping.monitor: value}
        if stopping.is_better(metrics):
            stopping.note_best(epoch, metrics, {"0": np.array([epoch])})
        elif stopping.should_stop(epoch):
            return epoch
    return None


@pytest.mark.parametrize(
    ("monitor", "values", "stops_at", "best"),
    [
        ("val_loss", [3.0, 2.0, 2.5, 2.1, 1.0], 3, 1),
        ("val_accuracy", [0.3, 0.2, 0.4, 0.4, 0.1], 4, 2),
        ("val_rmse", [3.0, 2.0, 1.0], None, 2),
    ],
)
def test_it_stops_after_its_patience(monitor: str, values: list[float], stops_at: int | None, best: int) -> None:
    stopping = EarlyStopping(monitor=monitor, patience=2)
    assert (course(stopping, values), stopping.best_epoch) == (stops_at, best)
    assert stopping.best_weights["0"] == best


def test_it_goes_on_where_it_was() -> None:
    first = EarlyStopping(monitor="loss", patience=3)
    assert course(first, [1.0, 2.0, 2.0]) is None
    second = EarlyStopping(monitor="loss", patience=3)
    second.restore(first.to_json(), first.best_weights)
    assert course(second, [2.0, 0.5], first=3) == 3


def test_a_metric_that_is_not_there_is_refused() -> None:
    said = r"unknown metric 'val_acc' in training\.monitor; there are: loss, val_loss"
    with pytest.raises(InvalidSetting, match=said):
        EarlyStopping(monitor="val_acc", patience=1).is_better({"loss": 1.0, "val_loss": 2.0})
