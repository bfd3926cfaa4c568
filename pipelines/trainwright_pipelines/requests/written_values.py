"""Values that a person wrote as JSON or YAML, read into what JSON can hold."""

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from trainwright_components.errors import InvalidSetting

_TAG = "tag:yaml.org,2002:"
_NUMBERS = {
    "int": r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)",
    "float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}


class InvalidText(Exception):
    """Neither JSON nor YAML."""


def read_text(text: str) -> Any:
    """The value that `text` says. The names in a mapping stay as they are written, and so do dates.

    Raises:
        InvalidText: It is neither JSON nor YAML.
        InvalidSetting: A mapping has a name twice: the first of the two values would be lost.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidText(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise InvalidText("it is nested too deeply") from error
    except (ValueError, KeyError) as error:  # PyYAML's own, of `!!int abc` and of 5000 digits
        raise InvalidText(str(error)) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.1 but for its numbers: `010` is not octal, `1:30` is none at all, and `1e-3` is one as in JSON."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge"]
        for key in names:
            key.tag = f"{_TAG}str"
        _refuse_twice((key.value for key in names), where=f" in line {node.start_mark.line + 1}")
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag in {f"{_TAG}{name}" for name in ("bool", "null", "merge")}]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), list("-+.0123456789"))
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag not in {f"{_TAG}{name}" for name in ("binary", "timestamp", "omap", "pairs", "set")}
}


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice((name for name, _ in pairs), where="")
    return dict(pairs)


def _refuse_twice(names: Iterable[str], *, where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidSetting(f"the mapping{where} has {name!r} twice; leave one of them out")
        seen.add(name)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
