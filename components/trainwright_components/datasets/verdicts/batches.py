"""Settings that do not fit the table."""

from collections.abc import Iterator
from typing import ClassVar

from trainwright_components.datasets.verdicts.check import Check
from trainwright_components.datasets.verdicts.evidence import Evidence
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

STEPS_PER_EPOCH = 8


class Batches:
    """A batch with more rows than there are to train on: each epoch is then one step."""

    kinds: ClassVar[tuple[str, ...]] = ("batch larger than the data",)

    def judge(self, evidence: Evidence) -> Iterator[Verdict]:
        """What looks wrong."""
        if evidence.given.batch_size is not None:
            yield from judge_batch(evidence.given.batch_size, evidence.train_rows)


def judge_batch(batch_size: int, rows: int) -> Iterator[Verdict]:
    """What is wrong with batches of `batch_size` where there are about `rows` to train on, as far as that is known."""
    if not rows or batch_size <= rows:
        return
    yield Verdict(
        kind="batch larger than the data",
        finding=f"training.batch_size is {batch_size:,}, but there are about {rows:,} rows to train on, so that an "
        "epoch is one step",
        evidence={"batch_size": batch_size, "train_rows": rows},
        advice=(Advice(text="take smaller steps", settings={"training.batch_size": fitting_batch(rows, batch_size)}),),
    )


def fitting_batch(rows: int, batch_size: int) -> int:
    """`batch_size`, or the power of two below with which an epoch over `rows` rows has some steps."""
    return min(batch_size, 1 << max(0, (rows // STEPS_PER_EPOCH).bit_length() - 1))


_: type[Check] = Batches
