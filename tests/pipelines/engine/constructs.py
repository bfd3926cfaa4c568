"""The constructs of a compiled pipeline as the installed kfp declares them, and the table that tells of each."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

TABLE = Path(__file__).with_suffix(".toml")
TESTS = Path(__file__).parents[1]
ALL_OTHERS = "*"


def messages() -> Iterator[Descriptor]:
    """Every message of PipelineSpec, PlatformSpec, the settings of kfp-kubernetes, and the contract with a task."""
    for module in (pipeline_spec_pb2, kubernetes_executor_config_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            yield from _with_nested(message)


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _with_nested(nested)


def name_of(message: Descriptor) -> str:
    """`PipelineTaskSpec.RetryPolicy`: without the package."""
    return str(message.full_name).partition(".")[2]


def read_table() -> dict[str, dict[str, str]]:
    """By message and field: the test that covers it, `engine/test_steps.py::test_x`, or why none does."""
    return tomllib.loads(TABLE.read_text())


def told_of(table: dict[str, dict[str, str]], message: Descriptor) -> dict[str, str]:
    """What the table says of each field of a message; fields that it does not tell of are left out."""
    told = table.get(name_of(message), {})
    found = {field.name: told.get(field.name, told.get(ALL_OTHERS)) for field in message.fields}
    return {name: text for name, text in found.items() if text}


def is_test(text: str) -> bool:
    """Whether the table names a test, rather than a reason."""
    return "::" in text


def names_of_tests(file: str) -> set[str]:
    """The tests of a file below tests/pipelines."""
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
