"""Lay the tree of steps out and draw it as SVG: layers from top to bottom, a group as a box around what it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainwright_pipelines.views.graph import Node

STEP_WIDTH, STEP_HEIGHT = 190, 46
GAP_X, GAP_Y = 26, 40
PADDING, TITLE_HEIGHT = 16, 26
_CHARACTER_WIDTH = 7.2


@dataclass(frozen=True, kw_only=True)
class Box:
    """A placed node; `x` and `y` are its upper left corner in the drawing."""

    node: Node
    x: float
    y: float
    width: float
    height: float
    children: tuple["Box", ...] = ()

    def moved(self, x: float, y: float) -> "Box":
        """The same box and all in it, shifted."""
        children = tuple(child.moved(x, y) for child in self.children)
        return Box(node=self.node, x=self.x + x, y=self.y + y, width=self.width, height=self.height, children=children)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A line from the middle of a lower side to the middle of an upper side."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def path(self) -> str:
        """The `d` of an SVG path: an S-shaped curve."""
        (x1, y1), (x2, y2) = self.start, self.end
        middle = (y1 + y2) / 2
        return f"M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} {x2:.1f},{y2:.1f}"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Everything placed; boxes in the order in which to paint them, outer ones first."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def lay_out(nodes: Sequence[Node]) -> Drawing:
    """Place `nodes` and what is in them."""
    placed, width, height = _place(nodes)
    placed = tuple(box.moved(PADDING, PADDING) for box in placed)
    boxes: list[Box] = []
    edges: list[Edge] = []
    _collect(placed, boxes, edges)
    return Drawing(width=width + 2 * PADDING, height=height + 2 * PADDING, boxes=tuple(boxes), edges=tuple(edges))


def shorten(label: str, width: float) -> str:
    """`label`, cut so that it fits `width` pixels."""
    limit = max(4, int((width - 40) / _CHARACTER_WIDTH))
    return label if len(label) <= limit else label[: limit - 1] + "…"


def _place(nodes: Sequence[Node]) -> tuple[tuple[Box, ...], float, float]:
    """Boxes with their corner at (0, 0), and the size of them all."""
    rows = [[_sized(node) for node in row] for row in _ordered_layers(nodes)]
    widths = [sum(box.width for box in row) + GAP_X * (len(row) - 1) for row in rows]
    full = max(widths, default=0)
    placed: list[Box] = []
    y = 0.0
    for row, width in zip(rows, widths, strict=True):
        x = (full - width) / 2
        for box in row:
            placed.append(box.moved(x, y))
            x += box.width + GAP_X
        y += max(box.height for box in row) + GAP_Y
    return tuple(placed), full, max(0.0, y - GAP_Y)


def _sized(node: Node) -> Box:
    if not node.children:
        return Box(node=node, x=0, y=0, width=STEP_WIDTH, height=STEP_HEIGHT)
    children, width, height = _place(node.children)
    width = max(width, min(len(node.label), 40) * _CHARACTER_WIDTH + 40)
    inset = (width - max(child.x + child.width for child in children)) / 2
    moved = tuple(child.moved(PADDING + max(0.0, inset), PADDING + TITLE_HEIGHT) for child in children)
    return Box(
        node=node, x=0, y=0, width=width + 2 * PADDING, height=height + 2 * PADDING + TITLE_HEIGHT, children=moved
    )


def _ordered_layers(nodes: Sequence[Node]) -> list[list[Node]]:
    """Layers by longest way from a start; within a layer by the mean place of what they depend on."""
    by_name = {node.name: node for node in nodes}
    depths: dict[str, int] = {}

    def depth(name: str, above: frozenset[str] = frozenset()) -> int:
        if name not in depths:
            before = [each for each in by_name[name].depends_on if each in by_name and each not in above]
            depths[name] = 1 + max((depth(each, above | {name}) for each in before), default=-1)
        return depths[name]

    layers: dict[int, list[Node]] = {}
    for node in nodes:
        layers.setdefault(depth(node.name), []).append(node)
    places: dict[str, float] = {}
    ordered = []
    for number in sorted(layers):
        row = layers[number]
        row.sort(key=lambda node: _mean([places[each] for each in node.depends_on if each in places]))
        places.update({node.name: (index + 0.5) / len(row) for index, node in enumerate(row)})
        ordered.append(row)
    return ordered


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.5


def _nearest(node: Node, siblings: Mapping[str, "Box"]) -> list[str]:
    """What `node` waits for, without what these wait for themselves: fewer lines say the same order."""
    implied: set[str] = set()
    waiting = [each for each in node.depends_on if each in siblings]
    while waiting:
        before = siblings[waiting.pop()].node.depends_on
        waiting += [each for each in before if each in siblings and each not in implied]
        implied.update(before)
    return [each for each in node.depends_on if each not in implied]


def _collect(boxes: Sequence[Box], found: list[Box], edges: list[Edge]) -> None:
    by_name = {box.node.name: box for box in boxes}
    for box in boxes:
        found.append(box)
        for name in _nearest(box.node, by_name):
            if before := by_name.get(name):
                start = (before.x + before.width / 2, before.y + before.height)
                edges.append(Edge(start=start, end=(box.x + box.width / 2, box.y)))
        _collect(box.children, found, edges)
