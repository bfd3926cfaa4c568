"""Sum sparse gradients over replicas so that an optimizer sees what one device would give it.

The gradient of a table that rows are looked up in has an entry for each look-up, and a row that was looked up twice has
two. Keras 3 squares, clips and counts such entries apart, so it matters which of them are one. Entries for rows of the
batch, such as those of tokens, stand beside each other, as on one device. Where every replica looks up the same, as for
learned positions, each entry is a sum over the batch: there the values of
replicas are added. One gradient may have parts of both kinds.

Which kind a part is of is read from the graph of its indices, for batches of two sizes: entries for rows of the batch
are twice as many in a batch twice as large, others as many.
"""

import itertools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule, first_line

if TYPE_CHECKING:
    import tensorflow as tf

_ROWS = 12  # of the smaller batch: models halve and quarter theirs
_LENGTH = 720  # in place of a dimension that varies, for the same reason
_OF_SHAPES = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike")
_READING = ("ReadVariableOp", "VarHandleOp", "Placeholder")
_CANNOT = "several replicas cannot train"
_EAGERLY = "run_eagerly leaves no graph to tell what is looked up"
_SIZED = "with a fixed number of rows it cannot be told what is looked up"
_UNSTEADY = "train_step does not always do the same"
_INSTEAD = "train it on one device (training.strategy one_device)"

_current = threading.local()  # every replica is traced in a thread of its own


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """The tensors of a replica's share.

    Args:
        every: Also those that ragged and sparse ones consist of.
        plain: Those with a row for each row of the share.
    """

    every: "list[tf.Tensor]"
    plain: "list[tf.Tensor]"

    @property
    def has_open_rows(self) -> bool:
        """Whether these are tensors of a graph for any number of rows."""
        import tensorflow as tf

        return not tf.executing_eagerly() and all(one.shape.rank is None or one.shape[0] is None for one in self.plain)

    @property
    def has_fixed_shapes(self) -> bool:
        """Whether only the number of rows is left open."""
        return len(self.plain) == len(self.every) and not any(None in one.shape[1:] for one in self.plain)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Entries of one look-up.

    Args:
        is_shared: Whether it is the same look-up on every replica.
        is_fixed: Whether the number of entries, or of entries for each row, is the same in all batches.
        is_of_values: Whether the indices may differ between replicas that have shares of the same shape.
    """

    is_shared: bool
    is_fixed: bool
    is_of_values: bool


class _Learnt(Exception):
    """Ends the making of a graph whose look-ups are known."""

    def __init__(self, kinds: list[list[_Part]]) -> None:
        super().__init__()
        self.kinds = kinds


class SparseSums:
    """The sums over replicas of one model's gradients.

    Args:
        step: The model's own step, which asks for them.

    Attributes:
        gathers: Whether there are entries that replicas send each other; None until a step has been traced.
        varies: Whether the number of those differs between batches of the same number of rows.
    """

    def __init__(self, step: Callable[[Any], Any]) -> None:
        self.gathers: bool | None = None
        self.varies = False
        self._step = step
        self._learnt: list[list[_Part]] = []

    def take_step(self, data: Any) -> Any:
        """What the model's own step returns for this replica's `data`."""
        import tensorflow as tf

        every, plain = (
            [one for one in tf.nest.flatten(data, expand_composites=expand) if isinstance(one, tf.Tensor)]
            for expand in (True, False)
        )
        _current.data, _current.batch = data, _Batch(every=every, plain=plain)
        return self._step(data)

    def over_replicas(self, gradients: Sequence[Any]) -> list[Any]:
        """The sum over replicas of each gradient.

        Raises:
            InvalidModule: For a sparse one nothing says what one device would compute.
        """
        import tensorflow as tf

        self.gathers = bool(self.gathers)
        kinds = self._kinds(gradients)
        pieces = [
            list(self._pieces(one, parts)) if isinstance(one, tf.IndexedSlices) else [one]
            for one, parts in zip(gradients, kinds, strict=True)
        ]
        context = tf.distribute.get_replica_context()
        summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, [_sent(one) for of in pieces for one in of]))
        return [_joined([_received(piece, next(summed)) for piece in of]) for of in pieces]

    def _kinds(self, gradients: Sequence[Any]) -> list[list[_Part]]:
        """The parts of each gradient; none of a dense one."""
        import tensorflow as tf

        sparse = [isinstance(one, tf.IndexedSlices) for one in gradients]
        is_learning = getattr(_current, "is_learning", False)
        if is_learning or not any(sparse) or _current.batch.has_open_rows:
            kinds = [_examine(one) if is_sparse else [] for one, is_sparse in zip(gradients, sparse, strict=True)]
            if is_learning:
                raise _Learnt(kinds)
            return kinds
        gradient = gradients[sparse.index(True)]
        self._learnt = self._learnt or self._learn(gradient)
        if [bool(parts) for parts in self._learnt] != sparse:
            raise InvalidModule(_refusal(gradient, f"{_unknown()}, and {_UNSTEADY}"))
        return self._learnt

    def _learn(self, gradient: "tf.IndexedSlices") -> list[list[_Part]]:
        """The kinds of a step, from a graph of it that takes any number of rows and is not run."""
        import tensorflow as tf

        def loose(one: Any) -> Any:
            return tf.TensorSpec([None, *one.shape[1:]], one.dtype) if isinstance(one, tf.Tensor) else one

        batch, data = _current.batch, _current.data
        trace = tf.function(self.take_step, autograph=False)
        _current.is_learning = True
        try:
            trace.get_concrete_function(tf.nest.map_structure(loose, data))
        except _Learnt as learnt:
            return learnt.kinds
        except Exception as error:
            raise InvalidModule(_refusal(gradient, f"{_unknown()}: {first_line(error)}")) from error
        finally:
            _current.is_learning, _current.batch, _current.data = False, batch, data
        raise InvalidModule(_refusal(gradient, f"{_unknown()}, and {_UNSTEADY}"))

    def _pieces(self, gradient: "tf.IndexedSlices", parts: list[_Part]) -> "Iterator[tf.IndexedSlices | _Shared]":
        """Neighbouring parts of one kind, in order."""
        import tensorflow as tf

        if tf.executing_eagerly() and len({part.is_shared for part in parts}) > 1:
            raise InvalidModule(_refusal(gradient, f"{_EAGERLY}, and it is used in several ways; leave it out"))
        indices = [gradient.indices] if tf.executing_eagerly() else _parts_of(gradient.indices)
        parts = parts[: len(indices)]
        sizes = [tf.shape(one)[0] for one in indices]
        split = tf.split(gradient.values, sizes) if len(sizes) > 1 else [gradient.values]
        for kind, group in itertools.groupby(zip(parts, indices, split, strict=True), key=lambda part: part[0]):
            members = list(group)
            slices = tf.IndexedSlices(
                tf.concat([values for _, _, values in members], 0),
                tf.concat([one for _, one, _ in members], 0),
                gradient.dense_shape,
            )
            if kind.is_shared:
                yield _shared(slices, kind)
            else:
                self.gathers, self.varies = True, self.varies or not kind.is_fixed
                yield slices if kind.is_fixed else _by_rows(slices)


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Entries whose values are added up, and where they belong on every replica."""

    values: "tf.Tensor"
    slices: "tf.IndexedSlices"


def _shared(slices: "tf.IndexedSlices", kind: _Part) -> _Shared:
    import tensorflow as tf

    if kind.is_fixed and not kind.is_of_values:
        return _Shared(values=slices.values, slices=slices)
    if kind.is_fixed:
        mine = tf.cast(slices.indices, tf.int64)
        context = tf.distribute.get_replica_context()
        of_all = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
        is_same = tf.reduce_all(of_all == mine * context.num_replicas_in_sync)
        with tf.control_dependencies([_demand(is_same, slices, "each of them looks up other rows")]):
            return _Shared(values=tf.identity(slices.values), slices=slices)
    # How many they are may differ between replicas, whose shares may be of different lengths: each row has its place.
    rows = slices.dense_shape[0]
    is_once = tf.size(tf.unique(slices.indices).y) == tf.size(slices.indices)
    with tf.control_dependencies([_demand(is_once, slices, "how many rows are looked up depends on the batch")]):
        values = tf.math.unsorted_segment_sum(slices.values, slices.indices, rows)
    places = tf.range(tf.cast(rows, slices.indices.dtype))
    return _Shared(values=values, slices=tf.IndexedSlices(values, places, slices.dense_shape))


def _by_rows(slices: "tf.IndexedSlices") -> "tf.IndexedSlices":
    """`slices`, when they have as many entries for each row of the share."""
    import tensorflow as tf

    last = tf.nest.flatten(_current.data)[-1]
    rows = last.nrows() if isinstance(last, tf.RaggedTensor) else tf.shape(last)[0]
    is_whole = tf.size(slices.indices) % rows == 0
    with tf.control_dependencies([_demand(is_whole, slices, "how many rows are looked up depends on the batch")]):
        return tf.IndexedSlices(tf.identity(slices.values), slices.indices, slices.dense_shape)


def _unknown() -> str:
    import tensorflow as tf

    return _EAGERLY if tf.executing_eagerly() else _SIZED


def _demand(condition: "tf.Tensor", slices: "tf.IndexedSlices", reason: str) -> Any:
    import tensorflow as tf

    return tf.debugging.Assert(condition, [_refusal(slices, reason)])


def _refusal(gradient: "tf.IndexedSlices", reason: str) -> str:
    import tensorflow as tf

    shape = tf.get_static_value(gradient.dense_shape)
    table = f"the weight of shape {tuple(int(size) for size in shape)}" if shape is not None else "a weight"
    return f"{_CANNOT} {table}, in which the model looks up rows, as one device would: {reason}; {_INSTEAD}"


def find_refusal(error: Exception) -> str:
    """What a step that was running refused; empty where `error` is about something else."""
    found = re.search(rf"{_CANNOT} .*?{re.escape(_INSTEAD)}", str(error), re.DOTALL)
    return found.group() if found else ""


def _sent(piece: Any) -> Any:
    return piece.values if isinstance(piece, _Shared) else piece


def _received(piece: Any, summed: Any) -> Any:
    import tensorflow as tf

    if not isinstance(piece, _Shared):
        return summed
    return tf.IndexedSlices(summed, piece.slices.indices, piece.slices.dense_shape)


def _joined(pieces: Sequence[Any]) -> Any:
    import tensorflow as tf

    if len(pieces) == 1:
        return pieces[0]
    return tf.IndexedSlices(
        tf.concat([one.values for one in pieces], 0),
        tf.concat([one.indices for one in pieces], 0),
        pieces[0].dense_shape,
    )


def _parts_of(indices: "tf.Tensor") -> "list[tf.Tensor]":
    """The indices of single look-ups, which TensorFlow concatenates where a table is used more than once."""
    if indices.op.type == "Identity":
        return _parts_of(indices.op.inputs[0])
    if indices.op.type == "ConcatV2":
        return [part for one in indices.op.inputs[:-1] for part in _parts_of(one)]
    return [indices]


def _examine(gradient: "tf.IndexedSlices") -> list[_Part]:
    indices = _parts_of(gradient.indices)
    if any(one.graph is not _current.batch.every[0].graph for one in indices):
        raise InvalidModule(_refusal(gradient, "train_step applies gradients within a condition or a loop"))
    operations = list(_operations_behind(indices, ends=_is_leaf))
    try:
        sizes = zip(*(_sizes_at(rows, indices, operations) for rows in (_ROWS, 2 * _ROWS)), strict=True)
    except ValueError as error:
        raise InvalidModule(_refusal(gradient, f"what is looked up cannot be told from the graph ({error})")) from error
    return [_part(few, many, one, gradient) for (few, many), one in zip(sizes, indices, strict=True)]


def _part(few: int | None, many: int | None, indices: "tf.Tensor", gradient: "tf.IndexedSlices") -> _Part:
    is_of_values = _is_of_values(indices)
    if few is None or many is None:
        return _Part(is_shared=not is_of_values, is_fixed=False, is_of_values=is_of_values)
    if many not in (few, 2 * few):
        raise InvalidModule(
            _refusal(gradient, f"{few} rows are looked up for a batch of {_ROWS}, {many} for one of {2 * _ROWS}")
        )
    is_shared = many == few
    is_fixed = indices.shape[0] is not None if is_shared else _current.batch.has_fixed_shapes
    return _Part(is_shared=is_shared, is_fixed=is_fixed, is_of_values=is_of_values)


def _operations_behind(
    tensors: "Iterable[tf.Tensor]", *, ends: "Callable[[tf.Operation], bool]"
) -> "Iterator[tf.Operation]":
    """The operations that `tensors` are computed by, up to and with those that `ends` is true of."""
    open_, seen = [one.op for one in tensors], set()
    while open_:
        operation = open_.pop()
        if operation.name not in seen:
            seen.add(operation.name)
            yield operation
            open_ += [] if ends(operation) else [one.op for one in operation.inputs]


def _is_of_values(indices: "tf.Tensor") -> bool:
    """Whether replicas may compute other `indices`: from values of the batch, or with random numbers."""
    behind = _operations_behind([indices], ends=lambda one: one.type in _OF_SHAPES or _is_of_batch(one))
    return any(_is_of_batch(one) or (one.op_def.is_stateful and one.type not in _READING) for one in behind)


def _is_leaf(operation: "tf.Operation") -> bool:
    import tensorflow as tf

    return _is_of_batch(operation) or any(one.dtype in (tf.resource, tf.variant) for one in operation.inputs)


def _is_of_batch(operation: "tf.Operation") -> bool:
    return any(operation is one.op for one in _current.batch.every)


def _sizes_at(rows: int, indices: "Sequence[tf.Tensor]", operations: "Sequence[tf.Operation]") -> list[int | None]:
    """How many entries there are in a batch of `rows` rows, where TensorFlow can tell from shapes alone."""
    import tensorflow as tf

    graph = indices[0].graph
    nodes = tf.compat.v1.GraphDef(versions=graph.graph_def_versions)
    for operation in operations:
        node = nodes.node.add()
        node.CopyFrom(operation.node_def)
        node.device = ""
        if _is_leaf(operation):
            node.op = "Placeholder"
            node.ClearField("input")
            node.ClearField("attr")
            node.attr["dtype"].type = operation.outputs[0].dtype.as_datatype_enum
            node.attr["shape"].shape.CopyFrom(_shape_at(rows, operation).as_proto())
        kept = [name for name in node.input if not name.startswith("^")]
        node.ClearField("input")
        node.input.extend(kept)
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
    if any(value.HasField("func") for node in nodes.node for value in node.attr.values()):
        nodes.library.CopyFrom(graph.as_graph_def().library)
    with tf.Graph().as_default():
        found = tf.graph_util.import_graph_def(nodes, return_elements=[one.name for one in indices], name="")
        return [one.shape[0] for one in found]


def _shape_at(rows: int, operation: "tf.Operation") -> "tf.TensorShape":
    import tensorflow as tf

    shape: tf.TensorShape = operation.outputs[0].shape
    is_batch = any(operation is one.op for one in _current.batch.plain)  # of ragged parts nobody knows the sizes
    return tf.TensorShape([rows, *(size or _LENGTH for size in shape[1:])]) if is_batch else shape
