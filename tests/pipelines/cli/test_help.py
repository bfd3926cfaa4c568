"""Every help needs no heavy library, and shows examples."""

import subprocess
import sys

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


@pytest.mark.parametrize("command", _all_commands(), ids=" ".join)
def test_help_loads_no_heavy_library_and_shows_examples(command: list[str]) -> None:
    program = (
        "import sys\n"
        "from trainwright_pipelines.cli.main import run_command\n"
        f"code = run_command({[*command, '--help']!r})\n"
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    assert "Examples:" in done.stdout
    assert "trainwright " in done.stdout.split("Examples:")[1]


def test_the_table_of_commands_is_the_grammar() -> None:
    for name, (_, help_line) in COMMANDS.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name
        assert help_line.endswith(".")
