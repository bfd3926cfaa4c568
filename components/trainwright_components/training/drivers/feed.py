"""What a driver takes its steps from: batches made for each process, and how many there are."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

MakeBatches = Callable[[Any], "tf.data.Dataset"]
"""Makes the batches of one process, given its `tf.distribute.InputContext`."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Batches of pass after pass: `full` ones, and then one that is not when `steps` is larger."""

    full: int
    steps: int

    def alike(self, step: int) -> int:
        """How many batches from number `step` on have the same number of rows."""
        return sys.maxsize if self.full == self.steps else max(1, self.full - step % self.steps)


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Batches for training and validation, and who takes them.

    Args:
        train_batches: Endless.
        validation_batches: Of one pass after the other; None without a validation split.
        validation_steps: Steps in one pass over the validation split.
        batch_size: Rows of a full training batch, over all replicas.
        passes: What the training batches of one pass are; None when it never ends.
        first_step: The number of the first step to take.
        processes: Members that take each step together.
        workers: Members that take steps by themselves, beside parameter servers.
    """

    train_batches: MakeBatches
    validation_batches: MakeBatches | None
    validation_steps: int
    batch_size: int
    passes: Passes | None = None
    first_step: int = 0
    processes: int = 1
    is_chief: bool = True
    workers: int = 0

    def undivided(self) -> "tuple[tf.data.Dataset, tf.data.Dataset | None]":
        """All training batches and all validation batches, for one process that hands them out or shares them."""
        import tensorflow as tf

        everything = tf.distribute.InputContext()
        validation = None if self.validation_batches is None else self.validation_batches(everything)
        return self.train_batches(everything), validation
