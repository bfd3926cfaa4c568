"""How the command line prints: JSON for scripts, tables and short times for people."""

import json
import shutil
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

_LEAST_WIDTH = 10
_WIDTH_OF_NO_TERMINAL = 200


def print_json(document: Any) -> None:
    """Print one JSON document; times become ISO 8601, paths text."""
    click.echo(json_text(document, indent=2))


def json_text(document: Any, **options: Any) -> str:
    """JSON with texts as they are, or with escapes where the output takes no such letters; null for NaN."""
    text = _json(document, ensure_ascii=False, **options)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return _json(document, **options)
    return text


def _json(document: Any, **options: Any) -> str:
    try:
        return json.dumps(document, default=_plain, allow_nan=False, **options)
    except ValueError:  # of a number that JSON has not
        from trainwright_components.short_floats import as_json

        plain = json.loads(json.dumps(document, default=_plain))
        return json.dumps(as_json(plain), allow_nan=False, **options)


def print_table(rows: Iterable[Sequence[Any]], header: Sequence[str], *, fold_last: bool = True) -> None:
    """Print a table without borders: folded to the terminal's width, or one line per row where there is none.

    The first column, by which a row is named in further commands, is never cut. Without `fold_last` the last one is one
    line too, cut to what is left of the terminal's, or of a long one where there is no terminal.
    """
    lines = [[_text(value) for value in row] for row in rows]
    if not fold_last:
        lines = [[*line[:-1], " ".join(line[-1].split())] for line in lines]
    if not sys.stdout.isatty():
        text = _aligned([list(header), *lines])
        click.echo(text if fold_last else "\n".join(map(_cut, text.splitlines())))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = _widths([list(header), *lines])
    rest = console.width - sum(widths[:-1]) - 2 * len(widths[:-1])
    if not fold_last:
        widths[-1] = max(min(widths[-1], rest), _LEAST_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, (title, width) in enumerate(zip(header, widths, strict=True)):
        is_cut = not fold_last and index == len(widths) - 1
        is_whole = index == 0 or not fold_last
        table.add_column(
            title,
            no_wrap=is_whole,
            overflow="ellipsis",
            min_width=width if is_whole else None,
            width=width if is_cut else None,
        )
    for line in lines:
        table.add_row(*(Text(text, style=STATE_COLOURS.get(text, "")) for text in line))
    console.print(table)


def _aligned(lines: list[list[str]]) -> str:
    widths = _widths(lines)
    rows = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(row.rstrip() for row in rows)


def _cut(line: str) -> str:
    width = shutil.get_terminal_size((_WIDTH_OF_NO_TERMINAL, 0)).columns
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)
