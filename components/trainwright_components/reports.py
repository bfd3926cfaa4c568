"""Self-contained HTML pages: headings, tables, figures as inline SVG. No script, no network."""

import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from jinja2 import Environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float | bool | None

_PAGE = Environment(autoescape=True, trim_blocks=True).from_string("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8884; text-align: left; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
p.warning { border-left: .25rem solid #c33; background: #c331; padding: .5rem .75rem; white-space: pre-wrap; }
figure { margin: .5rem 0 1.5rem; background: #fff; display: inline-block; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: #666; padding: 0 .5rem .5rem; } pre { overflow-x: auto; background: #8881; padding: .75rem; }
</style></head><body>
<h1>{{ title }}</h1>
{% for part in parts %}{{ part | safe }}
{% endfor %}
</body></html>
""")


class Report:
    """A page built from top to bottom; every `add_` returns the report, so that calls chain."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def add_heading(self, text: str) -> "Report":
        """Add a section heading."""
        return self._add(f"<h2>{html.escape(text)}</h2>")

    def add_text(self, text: str) -> "Report":
        """Add a paragraph of plain text."""
        return self._add(f"<p>{html.escape(text)}</p>")

    def add_warning(self, text: str) -> "Report":
        """Add a paragraph of plain text that nobody overlooks."""
        return self._add(f'<p class="warning">{html.escape(text)}</p>')

    def add_code(self, text: str) -> "Report":
        """Add preformatted text."""
        return self._add(f"<pre>{html.escape(text)}</pre>")

    def add_table(self, rows: Iterable[Sequence[Cell]], *, header: Sequence[str] = ()) -> "Report":
        """Add a table; numbers are right-aligned and shortened to six significant digits."""
        lines = [list(row) for row in rows]
        titles = "".join(_title(name, [line[index] for line in lines]) for index, name in enumerate(header))
        head = f"<thead><tr>{titles}</tr></thead>" if header else ""
        body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
        return self._add(f"<table>{head}<tbody>{body}</tbody></table>")

    def add_mapping(self, values: Mapping[str, Cell]) -> "Report":
        """Add a two-column table of names and values."""
        return self.add_table(list(values.items()))

    def add_figure(self, figure: "Figure", *, caption: str = "") -> "Report":
        """Add a matplotlib figure as inline SVG."""
        note = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        return self._add(f"<figure>{figure_svg(figure)}{note}</figure>")

    def html(self) -> str:
        """The whole page."""
        return _PAGE.render(title=self.title, parts=self._parts)

    def _add(self, part: str) -> "Report":
        self._parts.append(part)
        return self


def figure_svg(figure: "Figure") -> str:
    """`figure` as an `<svg>` element without XML prologue, with the same bytes for the same figure."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "trainwright", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _title(name: str, column: Sequence[Cell]) -> str:
    values = [value for value in column if value is not None]
    is_number = bool(values) and all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    return f"<th{' class=number' if is_number else ''}>{html.escape(name)}</th>"


def _cell(value: Cell) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return f"<td>{html.escape('' if value is None else str(value))}</td>"
    return f'<td class="number">{value:,}</td>' if isinstance(value, int) else f'<td class="number">{value:.6g}</td>'
