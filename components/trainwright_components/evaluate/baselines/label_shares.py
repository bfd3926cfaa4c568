"""Always the shares of the labels."""

from typing import TYPE_CHECKING

from trainwright_components.evaluate.baselines.mean_label import MeanLabel
from trainwright_components.evaluate.baselines.protocol import Baseline


class LabelShares(MeanLabel):
    """The share of each of several labels among the training rows, for every row."""

    name = "label shares"


if TYPE_CHECKING:
    _: type[Baseline] = LabelShares
