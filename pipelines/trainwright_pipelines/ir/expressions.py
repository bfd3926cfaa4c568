"""Conditions and selectors: the part of Google's Common Expression Language that pipelines use, parsed, never `eval`ed.

Literals, lists, `inputs.parameter_values['x']`, indexing, arithmetic, comparison, `in`, `!`, `&&`, `||`, `a ? b : c`,
and the functions int, double, string, bool, size, parseJson, contains, startsWith, endsWith, matches.
"""

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainwright_components.errors import InvalidPipeline

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|0[xX][0-9a-fA-F]+|\d+)[uU]?
      | (?P<text>[rR]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
      | (?P<name>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_LEVELS: tuple[tuple[str, ...], ...] = (("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
_VALUE_FIELDS = {"string_value", "int_value", "double_value", "number_value", "bool_value"}  # of specs before 2.0
_FAILURES = (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, re.error)
_CONSTANTS = {"true": True, "false": False, "null": None}

Evaluate = Callable[[Mapping[str, Any]], Any]


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """The value of `expression`, with names looked up in `variables`.

    Raises:
        InvalidPipeline: It cannot be read, or does not fit the values.
    """
    program = _Parser(expression).parse()
    try:
        return program(variables)
    except _FAILURES as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise InvalidPipeline(f"the expression {expression!r} cannot be computed: {reason}") from error


def is_true(condition: str, variables: Mapping[str, Any]) -> bool:
    """Whether a condition holds.

    Raises:
        InvalidPipeline: It cannot be read, does not fit the values, or is neither true nor false.
    """
    value = evaluate(condition, variables)
    if not isinstance(value, bool):
        raise InvalidPipeline(f"the condition {condition!r} is neither true nor false but {value!r}")
    return value


def readable(condition: str) -> str:
    """A condition in the words of the pipeline's author: names of values without the compiler's prefix."""
    text = condition.replace("inputs.parameter_values['pipelinechannel--", "").replace("inputs.parameter_values['", "")
    return text.replace("']", "").replace("&&", "and").replace("||", "or")


def inputs_read(expression: str) -> Iterator[tuple[str, str]]:
    """What an expression reads of a task: `parameter_values` and `x` for `inputs.parameter_values['x']`.

    Raises:
        InvalidPipeline: It cannot be read.
    """
    tokens = _Parser(expression).tokens
    for start, token in enumerate(tokens):
        match tokens[start + 1 : start + 5]:
            case [(_, "."), ("name", side), (_, "["), ("text", name)] if token == ("name", "inputs"):
                yield side, _unquote(name)
            case [(_, "."), ("name", side), (_, "."), ("name", name)] if token == ("name", "inputs"):
                yield side, name


class _Parser:
    """Recursive descent; each rule gives a function of the variables."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = list(self._scan())
        self.position = 0

    def _scan(self) -> list[tuple[str, str]]:
        tokens, start = [], 0
        end = len(self.expression.rstrip())
        while start < end:
            match = _TOKEN.match(self.expression, start)
            if match is None:
                raise InvalidPipeline(
                    f"the expression {self.expression!r} cannot be read at {self.expression[start:]!r}"
                )
            tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            start = match.end()
        return tokens

    def parse(self) -> Evaluate:
        program = self._choice()
        if self.position < len(self.tokens):
            raise self._unexpected()
        return program

    def _unexpected(self) -> InvalidPipeline:
        rest = " ".join(text for _, text in self.tokens[self.position :]) or "its end"
        return InvalidPipeline(f"the expression {self.expression!r} cannot be read at {rest}")

    def _take(self, *texts: str) -> str | None:
        if self.position < len(self.tokens):
            kind, text = self.tokens[self.position]
            if text in texts and kind in {"sign", "name"}:
                self.position += 1
                return text
        return None

    def _need(self, text: str) -> None:
        if self._take(text) is None:
            raise self._unexpected()

    def _choice(self) -> Evaluate:
        condition = self._or()
        if self._take("?") is None:
            return condition
        then = self._or()
        self._need(":")
        other = self._choice()
        return lambda names: then(names) if _bool(condition(names)) else other(names)

    def _or(self) -> Evaluate:
        left = self._and()
        while self._take("||"):
            left = _either(left, self._and(), decides=True)
        return left

    def _and(self) -> Evaluate:
        left = self._binary(0)
        while self._take("&&"):
            left = _either(left, self._binary(0), decides=False)
        return left

    def _binary(self, level: int) -> Evaluate:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while sign := self._take(*_LEVELS[level]):
            left = _apply(_OPERATORS[sign], left, self._binary(level + 1))
        return left

    def _unary(self) -> Evaluate:
        if self._take("!"):
            inner = self._unary()
            return lambda names: not _bool(inner(names))
        if self._take("-"):
            inner = self._unary()
            return lambda names: -_number(inner(names))
        return self._member()

    def _member(self) -> Evaluate:
        value = self._primary()
        while sign := self._take(".", "["):
            if sign == "[":
                value = _apply(_index, value, self._choice())
                self._need("]")
            else:
                value = self._selected(value)
        return value

    def _selected(self, value: Evaluate) -> Evaluate:
        name = self._name()
        if self._take("("):
            return _call(name, [value, *self._arguments(")")])
        return lambda names: _index(value(names), name)

    def _name(self) -> str:
        if self.position == len(self.tokens) or self.tokens[self.position][0] != "name":
            raise self._unexpected()
        self.position += 1
        return self.tokens[self.position - 1][1]

    def _arguments(self, end: str) -> list[Evaluate]:
        if self._take(end):
            return []
        arguments = [self._choice()]
        while self._take(","):
            arguments.append(self._choice())
        self._need(end)
        return arguments

    def _primary(self) -> Evaluate:
        if self._take("("):
            inner = self._choice()
            self._need(")")
            return inner
        if self._take("["):
            items = self._arguments("]")
            return lambda names: [item(names) for item in items]
        if self.position == len(self.tokens):
            raise self._unexpected()
        kind, text = self.tokens[self.position]
        if kind == "sign":
            raise self._unexpected()
        self.position += 1
        if kind == "name":
            if self._take("("):
                return _call(text, self._arguments(")"))
            if text in _CONSTANTS:
                return lambda _: _CONSTANTS[text]
            return lambda names: names[text]
        constant = _unquote(text) if kind == "text" else _literal_number(text)
        return lambda _: constant


def _literal_number(text: str) -> int | float:
    if text[:2] in {"0x", "0X"}:
        return int(text, 16)
    return int(text) if text.isdigit() else float(text)


def _unquote(text: str) -> str:
    if text[0] in "rR":
        return text[2:-1]

    def replace(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)

    return _ESCAPE.sub(replace, text[1:-1])


def _apply(function: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda names: function(left(names), right(names))


def _either(left: Evaluate, right: Evaluate, *, decides: bool) -> Evaluate:
    def evaluate_both(names: Mapping[str, Any]) -> bool:
        try:
            first = _bool(left(names))
        except _FAILURES:  # where one side decides, the other may fail (cel-spec, langdef.md, Logical Operators)
            if _bool(right(names)) is decides:
                return decides
            raise
        return decides if first is decides else _bool(right(names))

    return evaluate_both


def _call(name: str, arguments: list[Evaluate]) -> Evaluate:
    function = _FUNCTIONS.get(name)
    if function is None:
        raise InvalidPipeline(f"expressions have no function {name!r}; they have {', '.join(sorted(_FUNCTIONS))}")
    return lambda names: function(*(argument(names) for argument in arguments))


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return False  # CEL keeps true and 1 apart
    return bool(left == right)


def _ordered(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def check(left: Any, right: Any) -> bool:
        if not (isinstance(left, str) and isinstance(right, str)):
            _number(left), _number(right)
        return bool(compare(left, right))

    return check


def _add(left: Any, right: Any) -> Any:
    if type(left) is type(right) and isinstance(left, str | list):
        return left + right
    return _number(left) + _number(right)


def _divide(left: Any, right: Any) -> Any:
    if isinstance(_number(left), int) and isinstance(_number(right), int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient  # integers: towards zero
    return left / right


def _modulo(left: Any, right: Any) -> Any:
    return _number(left) - _number(right) * _divide(left, right)


def _index(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value[key]
    if isinstance(value, list):
        return value[int(key)]
    if key in _VALUE_FIELDS:
        return value
    raise TypeError(f"{value!r} has no {key!r}")


def _parse_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _to_int(value: Any) -> int:
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[+-]?\d+", value.strip()) else int(float(value))
    return int(_number(value))


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    return _bool(value)


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": lambda left, right: any(_equal(left, each) for each in right),
    "+": _add,
    "-": lambda left, right: _number(left) - _number(right),
    "*": lambda left, right: _number(left) * _number(right),
    "/": _divide,
    "%": _modulo,
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": _to_int,
    "uint": _to_int,
    "double": float,
    "string": _to_text,
    "bool": _to_bool,
    "size": len,
    "parseJson": _parse_json,
    "contains": lambda text, part: part in text,
    "startsWith": lambda text, part: text.startswith(part),
    "endsWith": lambda text, part: text.endswith(part),
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
}
