"""What is predicted of the rows of a dataset."""

from enum import StrEnum

from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData


class Task(StrEnum):
    """What a model predicts."""

    CLASSIFICATION = "classification"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"


_TASKS = {"class": Task.CLASSIFICATION, "multilabel": Task.MULTILABEL, "number": Task.REGRESSION}


def task_of(schema: Schema) -> Task:
    """What a model of rows like `schema` predicts.

    Raises:
        InvalidData: The schema has no label.
    """
    if schema.label is None:
        raise InvalidData("the dataset has no label; name one with `label` when it is prepared")
    return _TASKS[schema.label.kind]
