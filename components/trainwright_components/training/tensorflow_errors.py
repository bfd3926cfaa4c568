"""TensorFlow's run-time errors in the words of a training."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainwright_components.datasets.reader import find_damaged, miscounted
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidData, InvalidModule, TrainingFailed
from trainwright_components.training.data.labels import said_within_graph
from trainwright_components.training.drivers.sparse_gradients import find_refusal

_CARDINALITY = "Input dataset was expected to contain"
_NO_CLASS = re.compile(r"label value of (-?\d+) which is outside the valid range of (\[[^)]*\))")
_UNLIKE_ROWS = "Cannot batch tensors with different shapes"
_PLACES = re.compile(r"^\{\{function_node \S+\}\} | \[Op:\w+\].*$")
_IN_A_DATASET = re.compile(r"^Error in user-defined function passed to \S+ transformation with iterator: \S+: ")


@contextmanager
def translate_tensorflow_errors(batch_size: int, dataset: Path) -> Iterator[None]:
    """Translate errors that a person can act on; let those about lost peers pass, since the supervisor answers them.

    `dataset` is searched for the file that could not be read.
    """
    import tensorflow as tf

    try:
        yield
    except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
        name = _find_damaged(dataset) or "a file of the dataset"
        raise InvalidData(f"{name} cannot be read: {_essence(error)}; prepare the data again") from error
    except tf.errors.FailedPreconditionError as error:
        if _CARDINALITY not in str(error):
            raise
        raise miscounted(dataset, _essence(error)) from error
    except tf.errors.ResourceExhaustedError as error:
        raise TrainingFailed(
            f"out of memory at training.batch_size {batch_size}: {_essence(error)}; lower the batch size"
        ) from error
    except tf.errors.InvalidArgumentError as error:
        if refusal := find_refusal(error):
            raise InvalidModule(refusal) from error
        if said := said_within_graph(str(error)) or _unusable_rows(_essence(error)):
            raise InvalidData(said) from error
        raise TrainingFailed(f"an operation of the model or of preprocess failed: {_essence(error)}") from error


def _unusable_rows(said: str) -> str:
    """What TensorFlow 2.21 says of labels and rows, in other words; empty where it is about something else."""
    if found := _NO_CLASS.search(said):
        return f"the label {found[1]} is outside of the classes that the model puts out, {found[2]}"
    if _UNLIKE_ROWS in said:
        return f"rows of one batch differ in shape, so that they cannot be put together: {said}"
    return ""


def _find_damaged(dataset: Path) -> str:
    splits = (name for name, split in Statistics.load(dataset).splits.items() if split.rows)
    return next((name for name in (find_damaged(dataset, split) for split in splits) if name), "")


def _essence(error: Exception) -> str:
    """The line that says what happened, without TensorFlow's account of where in the graph."""
    lines = [line.strip() for line in str(error).splitlines()]
    wordy = ("Graph execution error", "Detected at node", "<stack traces", "[[{{node", "[[Iterator", "File ")
    telling = [line for line in lines if line and not line.startswith(wordy)]
    line = _PLACES.sub("", telling[-1]) if telling else type(error).__name__
    return _IN_A_DATASET.sub("in preprocess: ", line)
