"""The components that come with the product, read from their source: neither kfp nor TensorFlow is imported."""

import ast
from dataclasses import dataclass
from pathlib import Path

import trainwright_components
from trainwright_components.settings import docstring_items
from trainwright_pipelines.requests.groups import GROUPS, settings_of


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output of a component."""

    direction: str
    name: str
    type: str
    default: str = ""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ComponentEntry:
    """What a component does, takes and gives."""

    name: str
    summary: str
    ports: tuple[Port, ...]


def list_components() -> dict[str, ComponentEntry]:
    """All components by name, sorted."""
    root = Path(trainwright_components.__file__).parent
    found = (_read_component(file) for file in sorted(root.glob("*/component.py")))
    return {each.name: each for each in found if each is not None}


def _read_component(file: Path) -> ComponentEntry | None:
    name = file.parent.name
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            docstring = ast.get_docstring(node) or ""
            described = docstring_items(docstring, "Args") | docstring_items(docstring, "Returns")
            ports = (*_arguments(node, described), *_returned(node, described))
            return ComponentEntry(name=name, summary=docstring.partition("\n")[0], ports=ports)
    return None


def _arguments(node: ast.FunctionDef, described: dict[str, str]) -> list[Port]:
    arguments = [*node.args.args, *node.args.kwonlyargs]
    positional = [None] * (len(node.args.args) - len(node.args.defaults)) + list(node.args.defaults)
    ports = []
    for argument, default in zip(arguments, [*positional, *node.args.kw_defaults], strict=True):
        direction, type_name = _port_type(argument.annotation)
        shown = "" if default is None else ast.unparse(default)
        ports.append(
            Port(
                direction=direction,
                name=argument.arg,
                type=type_name,
                default=shown,
                description=described.get(argument.arg, ""),
            )
        )
    listed = [each for port in ports for each in (port, *_settings(port))]
    return sorted(listed, key=lambda port: port.direction)  # stable: "in" before "out"


def _settings(port: Port) -> list[Port]:
    """The settings of a group, if the port is one."""
    if port.direction != "in" or port.name not in GROUPS:
        return []
    return [
        Port(direction="in", name=each.name, type=each.type, default=each.default, description=each.description)
        for each in settings_of(port.name)
    ]


def _returned(node: ast.FunctionDef, described: dict[str, str]) -> list[Port]:
    """Ports of a returned NamedTuple or value."""
    returns = node.returns
    if returns is None or (isinstance(returns, ast.Constant) and returns.value is None):
        return []
    if isinstance(returns, ast.Call) and len(returns.args) == 2 and isinstance(returns.args[1], ast.List):
        pairs = [pair.elts for pair in returns.args[1].elts if isinstance(pair, ast.Tuple)]
        names = [(str(ast.literal_eval(name)), ast.unparse(kind)) for name, kind in pairs]
    else:
        names = [("Output", ast.unparse(returns))]
    return [Port(direction="out", name=name, type=kind, description=described.get(name, "")) for name, kind in names]


def _port_type(annotation: ast.expr | None) -> tuple[str, str]:
    text = ast.unparse(annotation).replace("dsl.", "") if annotation else ""
    for wrapper, direction in (("Input", "in"), ("Output", "out")):
        if text.startswith(f"{wrapper}[") and text.endswith("]"):
            return direction, text[len(wrapper) + 1 : -1]
    return "in", text
