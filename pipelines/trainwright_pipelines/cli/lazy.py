"""Groups that load a command's module only when that command is called, and commands whose help shows examples."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from trainwright_components.hints import did_you_mean


class ExampleCommand(click.Command):
    """A command whose help ends with examples, printed as they are written."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the examples below the options."""
        write_lines(formatter, "Examples", self.examples)


class LazyGroup(click.Group):
    """A group described by a table, so that its help needs none of its commands.

    Args:
        table: Command name to (`module:attribute`, one line of help).
        exit_codes: What the codes mean, line by line, where the help is to say it.
    """

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, tuple[str, str]] | None = None,
        examples: str = "",
        exit_codes: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.table = table or {}
        self.examples = examples
        self.exit_codes = exit_codes

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import and return the command, or None."""
        entry = self.table.get(cmd_name.replace("_", "-"))
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry[0]} is not a command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help when no command is named."""
        if not args:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` names; a misspelt name gets a suggestion."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise click.UsageError(f"no command {name!r}{did_you_mean(name, self.table)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the table of commands from their one-line helps."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.table.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """Write the examples and the exit codes below the commands."""
        write_lines(formatter, "Examples", self.examples)
        write_lines(formatter, "Exit codes", self.exit_codes)


def write_lines(formatter: click.HelpFormatter, title: str, text: str) -> None:
    """Write `text` as it is below `title`; nothing when there is no text."""
    if not text:
        return
    with formatter.section(title):
        for line in text.strip().splitlines():
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n" if line else "\n")
