"""What a tensor of a graph is computed from, also through functions that the graph calls. Adds nothing to it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

_ALIKE = ("Identity", "StopGradient", "CheckNumerics")
_BODIES = {
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
}


def is_computed_from(tensor: "tf.Tensor", sources: "Sequence[tf.Tensor]") -> bool:
    """Whether one of `sources`, tensors of the same graph or handles of variables, was read for `tensor`."""
    graph: Any = tensor.graph
    read = {id(outer): inner for outer, inner in graph.captures}
    within = (read.get(id(one), one) for one in sources)
    names = {one.name for one in within if getattr(one, "graph", None) is graph}
    return any(one.name in names for one in _ancestors(tensor))


def unwrapped(value: Any) -> Any:
    """The tensor that `value` is another name of; in Python code, or eagerly, `value` itself."""
    import tensorflow as tf

    while isinstance(value, tf.Tensor) and hasattr(value, "graph") and value.op.type in _ALIKE:
        value = value.op.inputs[0]
    return value


def _ancestors(tensor: "tf.Tensor") -> "Iterator[tf.Tensor]":
    """`tensor` and all that it is computed from, in its graph."""
    open_, seen = [tensor], set()
    while open_:
        one = open_.pop()
        if one.name in seen:
            continue
        seen.add(one.name)
        yield one
        open_ += _behind(one)


def _behind(tensor: "tf.Tensor") -> "Iterator[tf.Tensor]":
    """What `tensor` is computed from directly; a loop is taken to compute each result from all that it is given."""
    operation, graph = tensor.op, tensor.graph
    attributes = _BODIES.get(operation.type)
    if attributes is None:
        yield from operation.inputs
        return
    for attribute in attributes:
        body = graph._get_function(operation.get_attr(attribute).name).graph
        first = len(operation.inputs) - len(body.inputs)  # a condition comes before what its branches take
        yield from operation.inputs[:first]
        places = {one.name: place for place, one in enumerate(body.inputs, first)}
        for one in _ancestors(body.outputs[tensor.value_index]):
            if one.name in places:
                yield operation.inputs[places[one.name]]
