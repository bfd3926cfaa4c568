"""The header of ARFF, the format of Weka and OpenML, and of KEEL's .dat files: names, types, the column to predict.

Follows https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/ and the data set format of
https://sci2s.ugr.es/keel/datasets.php, which adds @inputs and @outputs.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from trainwright_components.errors import InvalidData

_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ATTRIBUTE = re.compile(rf"@attribute\s+({_QUOTED}|[^\s{{]+)\s*(.+)", re.IGNORECASE)
_OUTPUTS = re.compile(r"@outputs?\s+(.+)", re.IGNORECASE)
_NUMBERS: Final = ("numeric", "real", "integer")
_SINGLE_QUOTES = re.compile(r"(?:^|[,\t])\s*'", re.MULTILINE)
_DELIMITER_LINES = 20
COMMENT: Final = "%"


@dataclass(frozen=True, kw_only=True)
class ArffHeader:
    """What stands before the rows.

    Args:
        lines: How many lines that are.
        kinds: The kind of each column that holds no numbers; empty where the values tell it.
        label: The column to predict, where the file says it.
    """

    lines: int
    names: tuple[str, ...]
    kinds: dict[str, str] = field(default_factory=dict)
    label: str = ""


def is_arff(first_line: str) -> bool:
    """Whether a file whose first line that is no comment is `first_line` has such a header."""
    return first_line.lower().startswith("@relation")


def is_comment(line: str, sign: str) -> bool:
    """Whether `line` begins with `sign`, after blanks or none."""
    return line.lstrip().startswith(sign)


def read_header(text: str, *, file: str) -> ArffHeader:
    """The header at the start of `text`.

    Raises:
        InvalidData: It is not closed by @data, or has a type that is no column of a table.
    """
    names: list[str] = []
    kinds: dict[str, str] = {}
    label = ""
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line.lower() == "@data":
            return ArffHeader(lines=number, names=tuple(names), kinds=kinds, label=label)
        if match := _ATTRIBUTE.match(line):
            name, kind = _unquoted(match[1]), _kind(match[2].strip())
            if kind is None:
                raise InvalidData(
                    f"{file}, line {number}: {match[2]!r} is no type of a column; leave the attribute out"
                )
            names.append(name)
            kinds |= {} if kind == "numeric" else {name: kind}
        elif match := _OUTPUTS.match(line):
            outputs = match[1].split(",")
            label = _unquoted(outputs[0].strip()) if len(outputs) == 1 else ""
    raise InvalidData(f"{file} begins with @relation, but no line @data follows its attributes; complete the file")


def read_signs(body: str, *, file: str) -> tuple[str, str]:
    """Delimiter and quote of the rows `body`.

    Raises:
        InvalidData: They are sparse.
    """
    rows = (line for line in body.splitlines(keepends=True) if line.strip() and not is_comment(line, COMMENT))
    body = "".join(rows)
    lines = body.splitlines()[:_DELIMITER_LINES]
    if any(line.lstrip().startswith("{") for line in lines):
        raise InvalidData(
            f"{file} is a sparse ARFF file; write all values of each row, as Weka's SparseToNonSparse does"
        )
    delimiter = "\t" if any("\t" in line and "," not in line for line in lines) else ","
    return delimiter, "'" if _SINGLE_QUOTES.search(body) else '"'


def _kind(written: str) -> str | None:
    first = re.split(r"[\[\s]", written.lower())[0]
    if written.startswith("{"):
        return "categorical"
    if first in _NUMBERS:
        return "numeric"
    return "" if first in ("string", "date") else None


def _unquoted(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name[:1] in ("'", '"') else name
