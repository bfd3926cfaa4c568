"""What is predicted of the rows of a dataset."""

from enum import StrEnum

from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidData


class Task(StrEnum):
    """What a model predicts."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


def task_of(schema: Schema) -> Task:
    """What a model of rows like `schema` predicts.

    Raises:
        InvalidData: The schema has no label.
    """
    if schema.label is None:
        raise InvalidData("the dataset has no label; name one with `label` when it is prepared")
    return Task.CLASSIFICATION if schema.label.kind == "class" else Task.REGRESSION
