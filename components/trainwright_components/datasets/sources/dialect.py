"""How a text file writes its rows: encoding, lines before the rows, delimiter, quotes, header. Found from its head."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

from trainwright_components.datasets.chunks import MISSING_TEXTS
from trainwright_components.datasets.sources.arff import COMMENT, is_arff, is_comment, read_header, read_signs
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.settings import check_choice

DELIMITER_NAMES: Mapping[str, str] = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "blanks"}
HEADER_CHOICES = ("auto", "yes", "no")
_STRONG = "\t;|,"  # the earlier, the less likely inside a value
_SAMPLE_ROWS = 200
_COMMENT_SIGNS = ("#", "%")
_CONSISTENT = 0.95
_NUMBER = re.compile(r"[+-]?\s*(\d[\d.,' ]*|[.,]\d+)([eE][+-]?\d+)?\s*%?")
_TIME = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?.*|\d\d?([./-])\d\d?\1\d{2,4}.*|.*\d\d:\d\d:\d\d.*")
_MADE_UP = "; the columns are called column_1, column_2 and so on"
_ORANGE_TYPES = re.compile(r"[dcst]|discrete|continuous|string|time")
_ORANGE_FLAGS = re.compile(r"(|class|meta|ignore|weight|[cimw]|\w+=\S+)( \w+=\S+)*")
_YEARS = range(1500, 2200)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MISSING = MISSING_TEXTS | {"-", "--", "."}
_BETWEEN_BLANKS = re.compile(r'"[^"]*"|\S+')
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)  # Excel's own way to say it


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How rows are written.

    Args:
        encoding: Python's name of the encoding.
        first_line: The lines before the first row: comments, `sep=;`, empty ones, the header.
        delimiter: Between values; a blank stands for any run of blanks and tabs.
        quote: Around values that hold the delimiter; empty for none.
    """

    encoding: str = "utf-8-sig"
    first_line: int = 0
    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True
    """Whether the line before the first row names the columns."""
    skips_blanks: bool = False
    """Whether quotes after a delimiter and blanks are quotes."""
    comment: str = ""
    """What lines between the rows begin with that are no rows."""

    def to_mapping(self) -> dict[str, Any]:
        """As JSON holds what files written alike have in common."""
        return {name: value for name, value in asdict(self).items() if name != "first_line"}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """What `to_mapping` gave."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class DialectOptions:
    """What a person says about it; empty for what is to be found.

    Args:
        encoding: Such as utf-8, utf-16, cp1252 or latin-1.
        delimiter: One sign, or its name: tab, and blanks for any run of blanks.
        header: auto, yes or no.
        quote: Around values that hold the delimiter; empty for none, None for what is to be found.
        said_by: What stands before the names of these options where a person says them, for messages.
    """

    encoding: str = ""
    delimiter: str = ""
    header: str = "auto"
    quote: str | None = None
    said_by: str = "data."

    def __post_init__(self) -> None:
        if self.encoding:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise InvalidSetting(
                    f"{self.said_by}encoding {self.encoding!r} is not known; utf-8, utf-16, cp1252 and latin-1 are "
                    "frequent"
                ) from error
        if self.delimiter and _delimiter(self.delimiter) is None:
            raise InvalidSetting(
                f"{self.said_by}delimiter must be one sign, or {', '.join(DELIMITER_NAMES.values())}; "
                f"got {self.delimiter!r}"
            )
        check_choice(self.header, HEADER_CHOICES, where=f"{self.said_by}header")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A dialect, and why it is taken for that.

    Args:
        names: Those of the columns; made up where the file has no header.
        kinds: The kind of each column that holds no numbers, where the file says so; empty where the values tell it.
        label: The column to predict, where the file says it.
        evidence: What is unlike plain CSV, a sentence each, for people.
    """

    dialect: Dialect
    names: tuple[str, ...]
    evidence: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    label: str = ""


def find_dialect(head: bytes, options: DialectOptions, *, file: str, is_whole: bool = True) -> Found:
    """The dialect of a file that begins with `head`, or that is `head` when `is_whole`.

    Raises:
        InvalidData: It is empty, or no text.
    """
    encoding = options.encoding or find_encoding(head, file=file)
    try:
        text = _decode(head, encoding)
    except UnicodeError as error:  # errors="replace" is for bytes, not for the mark that utf-16 asks for
        raise InvalidData(f"{file} is not {encoding}: {error}; say another {options.said_by}encoding") from error
    evidence = [] if encoding in ("utf-8", "utf-8-sig") or options.encoding else [f"the encoding is {encoding}"]
    skipped, said = _lines_before(text)
    lines = text.splitlines(keepends=True)
    body = "".join(lines[skipped:])
    if not body.strip():
        raise InvalidData(f"{file} is empty; a CSV file has a line for each row")
    if "\0" in body:
        raise InvalidData(f"{file} is not a CSV file: it holds binary data; say its format, or give another file")
    if is_arff(lines[skipped]):
        return _find_arff(text, encoding, lines=lines, file=file)
    if any(line.strip() for line in lines[:skipped]):
        evidence.append(f"the first {skipped} lines are no rows: {lines[0].strip()[:40]!r}")
    delimiter, quote, skips_blanks = _find_delimiter(
        body, _delimiter(options.delimiter) or said or "", is_whole=is_whole
    )
    quote = quote if options.quote is None else options.quote
    if delimiter != "," and not options.delimiter:
        evidence.append(f"values are delimited by {DELIMITER_NAMES.get(delimiter, repr(delimiter))}")
    if not quote:
        evidence.append("quotes are part of the values: some are not closed")
    if skips_blanks:
        evidence.append("blanks between a delimiter and a quote are no part of the value")
    rows = _rows(body, delimiter, quote, skips_blanks=skips_blanks)
    has_header = {"yes": True, "no": False}.get(options.header)
    if has_header is None:
        has_header, why = _has_header(rows)
        evidence += [why] if why else []
    dialect = Dialect(
        encoding=encoding,
        first_line=skipped + (_lines_of_header(body, delimiter, quote) if has_header else 0),
        delimiter=delimiter,
        quote=quote,
        has_header=has_header,
        skips_blanks=skips_blanks,
    )
    if has_header and _is_of_orange(rows):
        evidence.append("the second and the third line are Orange's: types and roles of the columns")
        dialect = replace(dialect, first_line=dialect.first_line + 2)
    names = [name.strip() for name in rows[0]] if has_header else [""] * len(rows[0])
    if has_header and len(rows) > 1 and all(len(row) == len(names) + 1 for row in rows[1:]):
        evidence.append("the rows have one value more than the header has names: the first is taken for their number")
        names = ["", *names]
    stem = "unnamed" if has_header else "column"
    return Found(
        dialect=dialect,
        names=tuple(name or f"{stem}_{number}" for number, name in enumerate(names, start=1)),
        evidence=tuple(evidence),
    )


def _find_arff(text: str, encoding: str, *, lines: Sequence[str], file: str) -> Found:
    header = read_header(text, file=file)
    body = "".join(lines[header.lines :])
    delimiter, quote = read_signs(body, file=file)
    dialect = Dialect(
        encoding=encoding,
        first_line=header.lines,
        delimiter=delimiter,
        quote=quote,
        has_header=False,
        skips_blanks=quote in body,
        comment=COMMENT,
    )
    evidence = ("its header is ARFF's, which names the columns and their types",)
    return Found(dialect=dialect, names=header.names, evidence=evidence, kinds=header.kinds, label=header.label)


def _delimiter(said: str) -> str | None:
    if not said:
        return None
    named = {**{name: sign for sign, name in DELIMITER_NAMES.items()}, "\\t": "\t", "blank": " ", "space": " "}
    sign = named.get(said, said)
    return sign if len(sign) == 1 else None


def find_encoding(head: bytes, *, file: str) -> str:
    """The encoding of a file that begins with `head`: by its mark or its zeros, else UTF-8.

    Raises:
        NotUtf8: It is another one.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if max(zeros) > len(head) // 4:  # ASCII in two bytes has a zero in each
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the end may cut a character
    except UnicodeDecodeError as error:
        raise NotUtf8(f"{file}: byte 0x{head[error.start]:02x} is not UTF-8; say data.encoding") from error
    return "utf-8-sig"


class NotUtf8(InvalidData):
    """Text that is not UTF-8, nor marked as something else."""


def _decode(head: bytes, encoding: str) -> str:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    text: str = decoder.decode(head)
    return text.removeprefix("\ufeff")


def _lines_before(text: str) -> tuple[int, str]:
    """How many lines stand before the header or the rows, and the delimiter that one of them says."""
    count, said = 0, ""
    for line in text.splitlines(keepends=True):
        if match := _SEPARATOR_LINE.fullmatch(line):
            said = match[1]
        elif line.strip() and not line.startswith(_COMMENT_SIGNS):
            break
        count += 1
    return count, said


def _find_delimiter(body: str, said: str, *, is_whole: bool) -> tuple[str, str, bool]:
    """Delimiter and quote that give each line the same number of values, and whether blanks stand between them."""
    candidates = said or _STRONG
    spaced = {sign for sign in candidates if _has_blanks_before_quotes(body, sign)}
    for quote in ('"', ""):
        skipping = spaced if quote else set()
        fitting = [
            sign
            for sign in candidates
            if _share_of_widest(_rows(body, sign, quote, skips_blanks=sign in skipping)) >= _CONSISTENT
        ]
        if fitting and fitting[0] in skipping:
            return fitting[0], quote, True
        if fitting:
            return fitting[0], "" if _has_open_quotes(body, fitting[0], is_whole=is_whole) else quote, False
    if said:
        return said, '"', False
    if _share_of_widest(_rows(body, " ", '"')) >= _CONSISTENT:
        return " ", '"', False
    first = body.splitlines()[0]
    return max(_STRONG[::-1], key=first.count), '"', False


def _has_blanks_before_quotes(body: str, delimiter: str) -> bool:
    """Whether values are others when blanks before a quote are left out."""
    if delimiter == " " or not re.search(rf'{re.escape(delimiter)} +"', body):
        return False
    plain, skipped = (_rows(body, delimiter, '"', skips_blanks=skips) for skips in (False, True))
    return [[value.strip() for value in row] for row in plain] != [[value.strip() for value in row] for row in skipped]


def _has_open_quotes(body: str, delimiter: str, *, is_whole: bool) -> bool:
    """Whether quotes are no quotes: each line is a whole row without them, and as quotes they make no sense.

    That is where something follows a closing one, or where they would join lines between tabs, which prose has none of.
    """
    lines = body.splitlines()[:-1]
    if len({line.count(delimiter) for line in lines if line}) != 1:
        return False
    if delimiter == "\t":
        return any(line.count('"') % 2 for line in lines)
    try:
        for _ in csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return is_whole or "end of data" not in str(error)  # a head is cut off anywhere
    return False


def split_blanks(line: str) -> list[str]:
    """The values of a line between runs of blanks and tabs, some of them in quotes."""
    return [value.strip('"') for value in _BETWEEN_BLANKS.findall(line)] if '"' in line else line.split()


def read_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """The values of each row, as Python's csv reads them; an empty line has none."""
    if sign := dialect.comment:
        lines = (line for line in lines if not is_comment(line, sign))
    if dialect.delimiter == " ":
        return map(split_blanks, lines)
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        skipinitialspace=dialect.skips_blanks,
        escapechar="\\" if dialect.quote == "'" else None,  # ARFF's, which alone has such quotes
    )


def _share_of_widest(rows: Sequence[Sequence[str]]) -> float:
    """The share of rows that have as many values as the first, or nothing where that is one."""
    if not rows or len(rows[0]) < 2:
        return 0.0
    if any("\n" in value for row in rows for value in row) and len(rows) < 3:
        return 0.0  # a quote that is never closed swallows the rest
    widths = Counter(map(len, rows[1:] or rows))
    width, count = widths.most_common(1)[0]
    return count / widths.total() if len(rows[0]) in (width, width - 1) else 0.0  # R leaves row names without a name


def _rows(body: str, delimiter: str, quote: str, *, skips_blanks: bool = False) -> list[list[str]]:
    """Some rows; the last is left out where it may be cut off."""
    if delimiter == " ":
        return [split_blanks(line) for line in body.splitlines()[:_SAMPLE_ROWS] if line.strip()]
    options: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    options["skipinitialspace"] = skips_blanks
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, **options)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > _SAMPLE_ROWS:
                break
    except csv.Error:
        return rows
    return rows[:-1] if len(rows) > 2 else rows


def _lines_of_header(body: str, delimiter: str, quote: str) -> int:
    if delimiter == " " or not quote:
        return 1
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, quotechar=quote)
    next(reader)
    return reader.line_num


def _has_header(rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Whether the first row names the columns, and why not."""
    first, others = rows[0], rows[1:]
    if not others:
        return True, ""
    cells = [cell.strip() for cell in first]
    below = [Counter(row[index].strip() for row in others if index < len(row)) for index in range(len(cells))]
    if any(_TIME.fullmatch(cell) and _share(_TIME, below[index]) > 0 for index, cell in enumerate(cells)):
        return False, f"there is no header: the first line holds a time ({', '.join(cells)[:60]}){_MADE_UP}"
    numbered = [index for index, cell in enumerate(cells) if _NUMBER.fullmatch(cell)]
    over_numbers = [
        index
        for index, cell in enumerate(cells)
        if index not in numbered and cell not in _MISSING and _share(_NUMBER, below[index]) >= _CONSISTENT
    ]
    if len(over_numbers) > len(numbered):
        return True, ""
    recurring = [index for index, cell in enumerate(cells) if cell and below[index][cell] > 0]
    shown = ", ".join(cells)[:60]
    if numbered and not _are_names(cells, numbered, recurring):
        return False, f"there is no header: the first line holds values ({shown}){_MADE_UP}"
    if len(recurring) > len(cells) / 2:
        return False, f"there is no header: the first line recurs below ({shown}){_MADE_UP}"
    return True, ""


def _share(pattern: re.Pattern[str], values: Counter[str]) -> float:
    """The share of values like `pattern`, of those that are there."""
    present = {value: count for value, count in values.items() if value not in _MISSING}
    alike = sum(count for value, count in present.items() if pattern.fullmatch(value))
    return alike / sum(present.values()) if present else 0.0


def _is_of_orange(rows: Sequence[Sequence[str]]) -> bool:
    """Whether two lines below the header tell types and roles, as files of Orange do."""
    if len(rows) < 4 or not all(_ORANGE_FLAGS.fullmatch(cell.strip()) for cell in rows[2]):
        return False
    types = [cell for cell in rows[1] if _ORANGE_TYPES.fullmatch(cell.strip())]  # other cells list a column's values
    return len(types) >= len(rows[1]) / 2


def _are_names(cells: Sequence[str], numbered: Sequence[int], recurring: Sequence[int]) -> bool:
    """Whether numbers in the first row may name columns: years, or 0, 1, 2 and so on, each once."""
    texts = [cells[index] for index in numbered]
    if not all(text.isdigit() for text in texts) or len(set(texts)) < len(texts):
        return False
    numbers = [int(text) for text in texts]
    are_years = all(number in _YEARS for number in numbers)
    are_steps = len(numbers) > 1 and {b - a for a, b in pairwise(numbers)} == {1}
    return (are_years or are_steps) and not set(recurring) - set(numbered)
