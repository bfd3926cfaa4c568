"""Every help needs no heavy library, and shows examples."""

import json
import subprocess
import sys
from typing import Any

import click
import pytest

from trainwright_pipelines.cli.lazy import LazyGroup
from trainwright_pipelines.cli.main import COMMANDS, cli

HEAVY = {"kfp", "tensorflow", "keras", "google.cloud.aiplatform", "sqlalchemy", "pandas", "numpy", "matplotlib"}


def _all_commands() -> list[list[str]]:
    found: list[list[str]] = [[]]
    for name in COMMANDS:
        found.append([name])
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, LazyGroup):
            found += [[name, each] for each in command.table]
    return found


# In one process, since starting Python for each of some forty commands takes longer than all else. What one help loads
# stays loaded: the first command that finds a library loaded is the one to blame.
PROGRAM = """
import contextlib, io, json, sys
from trainwright_pipelines.cli.main import run_command

commands, heavy = json.loads(sys.argv[1])
blamed = set()
for command in commands:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = run_command([*command, "--help"])
    loaded = sorted(set(heavy) & set(sys.modules) - blamed)
    blamed.update(loaded)
    print(json.dumps({"code": code, "out": text.getvalue(), "err": errors.getvalue(), "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], dict[str, Any]]:
    """What each command prints for --help and what it loads, by the command's words."""
    commands = _all_commands()
    given = json.dumps([commands, sorted(HEAVY)])
    done = subprocess.run([sys.executable, "-c", PROGRAM, given], capture_output=True, text=True, check=True)
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(map(tuple, commands), printed, strict=True))


@pytest.mark.parametrize("command", _all_commands(), ids=" ".join)
def test_help_loads_no_heavy_library_and_shows_examples(
    command: list[str], helps: dict[tuple[str, ...], dict[str, Any]]
) -> None:
    help_of = helps[tuple(command)]
    assert help_of["code"] == 0, help_of["err"]
    assert help_of["loaded"] == []
    assert "Examples:" in help_of["out"]
    assert "trainwright " in help_of["out"].split("Examples:")[1]


def test_the_table_of_commands_is_the_grammar() -> None:
    for name, (_, help_line) in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name
        assert help_line.endswith(".")
