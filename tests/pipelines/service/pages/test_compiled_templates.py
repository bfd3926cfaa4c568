"""Compiled templates are taken from their files, unless these are damaged or made otherwise."""

from pathlib import Path
from typing import Any

import pytest
from jinja2 import DictLoader, Environment

from trainwright_pipelines.service.pages.compiled_templates import CompiledTemplates


class Counting(Environment):
    """Counts how often it compiled a template."""

    compiled = 0

    def compile(self, *args: Any, **named: Any) -> Any:
        self.compiled += 1
        return super().compile(*args, **named)


def compiles(folder: Path, source: str, **options: Any) -> bool:
    environment = Counting(
        loader=DictLoader({"page": source}), bytecode_cache=CompiledTemplates(folder), autoescape=True, **options
    )
    assert environment.get_template("page").render(name="<x>").strip().startswith("hello &lt;x&gt;")
    return environment.compiled == 1


def test_a_template_is_compiled_once(tmp_path: Path) -> None:
    assert compiles(tmp_path, "hello {{ name }}")
    assert not compiles(tmp_path, "hello {{ name }}")


def test_a_template_is_compiled_again_when_what_it_is_made_from_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiles(tmp_path, "hello {{ name }}")
    assert compiles(tmp_path, "hello {{ name }}!")
    assert compiles(tmp_path, "hello {{ name }}!", trim_blocks=True)
    monkeypatch.setattr("jinja2.__version__", "0")
    assert compiles(tmp_path, "hello {{ name }}!", trim_blocks=True)


@pytest.mark.parametrize("damage", [b"", b"not code", None])
def test_a_damaged_file_is_replaced_and_a_folder_without_room_does_no_harm(
    tmp_path: Path, damage: bytes | None
) -> None:
    assert compiles(tmp_path, "hello {{ name }}")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    assert compiles(tmp_path, "hello {{ name }}")
    assert not compiles(tmp_path, "hello {{ name }}")
    (tmp_path / "file").touch()
    assert compiles(tmp_path / "file", "hello {{ name }}")
