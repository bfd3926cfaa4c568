"""How the command line prints: JSON for scripts, tables and short times for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

import click

STATE_COLOURS = {
    "SUCCEEDED": "green",
    "CACHED": "green",
    "RUNNING": "cyan",
    "CANCELED": "yellow",
    "INTERRUPTED": "yellow",
    "FAILED": "red",
}


def print_json(document: Any) -> None:
    """Print one JSON document; times become ISO 8601, paths text."""
    click.echo(json.dumps(document, indent=2, default=_plain))


def print_table(rows: Iterable[Sequence[Any]], header: Sequence[str], *, fold_last: bool = True) -> None:
    """Print a table without borders: folded to the terminal's width, or one line per row where there is none.

    The first column, by which a row is named in further commands, is never cut. Without `fold_last` the last one is cut
    to what is left of the line.
    """
    lines = [[_text(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo(_aligned([list(header), *lines]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(header):
        is_cut = index == len(header) - 1 and not fold_last
        name_width = max(len(line[0]) for line in [header, *lines]) if index == 0 else None
        table.add_column(title, no_wrap=is_cut or index == 0, overflow="ellipsis", min_width=name_width)
    for line in lines:
        table.add_row(*(Text(text, style=STATE_COLOURS.get(text, "")) for text in line))
    Console().print(table)


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
