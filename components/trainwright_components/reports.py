"""Self-contained HTML pages: headings, tables, figures as inline SVG. No script, no network."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

Cell = str | int | float | bool | None


class Report:
    """A page built from top to bottom; every `add_` returns the report, so that calls chain."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[dict[str, Any]] = []

    def add_heading(self, text: str) -> "Report":
        """Add a section heading."""
        return self._add("heading", text=text)

    def add_text(self, text: str) -> "Report":
        """Add a paragraph of plain text."""
        return self._add("text", text=text)

    def add_warning(self, text: str) -> "Report":
        """Add a paragraph of plain text that nobody overlooks."""
        return self._add("warning", text=text)

    def add_code(self, text: str) -> "Report":
        """Add preformatted text."""
        return self._add("code", text=text)

    def add_table(self, rows: Iterable[Sequence[Cell]], *, header: Sequence[str] = ()) -> "Report":
        """Add a table; numbers are right-aligned and shortened to six significant digits."""
        lines = [list(row) for row in rows]
        numbers = [index for index in range(len(header)) if _is_column_of_numbers([line[index] for line in lines])]
        return self._add("table", rows=lines, header=header, number_columns=numbers)

    def add_mapping(self, values: Mapping[str, Cell]) -> "Report":
        """Add a two-column table of names and values."""
        return self.add_table(list(values.items()))

    def add_figure(self, figure: "Figure", *, caption: str = "") -> "Report":
        """Add a matplotlib figure as inline SVG."""
        return self._add("figure", svg=figure_svg(figure), caption=caption)

    def html(self) -> str:
        """The whole page."""
        return _template().render(title=self.title, parts=self._parts)

    def _add(self, kind: str, **part: Any) -> "Report":
        self._parts.append({"kind": kind, **part})
        return self


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.tests["digits"] = _is_number
    environment.filters["shown"] = _shown
    return environment.from_string(files("trainwright_components").joinpath("report.html.j2").read_text())


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Cell]]:
    """Nested settings by the names that they are set by, such as `devices.gpu_memory`."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, Cell) else str(value)


def figure_svg(figure: "Figure") -> str:
    """`figure` as an `<svg>` element without XML prologue, with the same bytes for the same figure."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "trainwright", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_column_of_numbers(column: Sequence[Cell]) -> bool:
    values = [value for value in column if value is not None]
    return bool(values) and all(map(_is_number, values))


def _shown(value: Cell) -> str:
    if value is None:
        return ""
    if not _is_number(value):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
