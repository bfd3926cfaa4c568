"""Only `ir` reads and writes the raw documents of a compiled pipeline."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import trainwright_pipelines

PACKAGE = Path(trainwright_pipelines.__file__).parent
RAW_NAMES = {
    *("componentRef", "componentInputParameter", "componentInputArtifact", "taskOutputParameter", "taskOutputArtifact"),
    *(
        "inputDefinitions",
        "outputDefinitions",
        "executorLabel",
        "deploymentSpec",
        "dependentTasks",
        "parameterIterator",
    ),
    *("artifactIterator", "triggerPolicy", "cachingOptions", "taskInfo", "parameterType", "artifactSelectors"),
}
"""Fields of KFP's PipelineSpec that nothing else is called."""


def _texts(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_no_other_room_names_a_field_of_a_raw_spec(room: str) -> None:
    found = {
        f"{file.relative_to(PACKAGE)}: {text}"
        for file in (PACKAGE / room).rglob("*.py")
        for text in _texts(file)
        if text in RAW_NAMES
    }
    assert bool(found) == (room == "ir"), found
