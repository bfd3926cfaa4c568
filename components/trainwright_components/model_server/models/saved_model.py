"""A SavedModel in a TensorFlow session: fed and fetched by tensor name, as TensorFlow Serving does it."""

import gc
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from trainwright_components.model_server.models.runner import Compute, Runner
from trainwright_components.model_server.request_context import current_request
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_MOST_PREPARED = 256
DEFAULT_TAGS = ("serve",)
_LOOP = re.compile(r"While|^Enter$|^For$|Map(Defun|Fn)|PyFunc|Queue|Barrier|Stage|Recv|Iterator")
_ENDS_THE_PROCESS = re.compile(r"Conv|Pool|BatchNorm|LRN")
"""Operations that TensorFlow 2.21 ends the process for, not the run, when their input has another rank (by oneDNN)."""


class SavedModel:
    """One SavedModel, its variables restored and its tables initialised.

    Args:
        path: The version's folder, with `saved_model.pb`.
        tags: The MetaGraph to load.
        session_config: `ConfigProto` of the session; TensorFlow's own choice by default.
        on_run: Called after each run of the graph that succeeded.

    Raises:
        StatusError: The folder holds no SavedModel that can be loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        tags: Sequence[str] = DEFAULT_TAGS,
        session_config: Any = None,
        on_run: Callable[[], None] = lambda: None,
    ) -> None:
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph, config=session_config)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(session, list(tags), str(path))
        except Exception as error:
            session.close()
            raise _load_error(error, path) from error
        self._session: Any | None = session
        self._on_run = on_run
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._has_loops = _has_any(meta_graph.graph_def, _LOOP)
        self._shapes: dict[str, dict[str, tf.TensorShape]] = {}
        if _has_any(meta_graph.graph_def, _ENDS_THE_PROCESS):
            self._shapes = {name: _shapes_of(signature) for name, signature in self.signatures.items()}
        self._feeds = {name: frozenset(info.name for info in s.inputs.values()) for name, s in self.signatures.items()}
        self._runners: dict[tuple[tuple[str, ...], tuple[str, ...]], Runner] = {}
        self._runners_by_feeds: dict[frozenset[str], list[Runner]] = {}
        self._prepared: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Runner] = {}
        self._lock = threading.Lock()

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        """See `Servable.run`."""
        self._check_shapes(signature_name, inputs)
        question = (signature_name, tuple(inputs), tuple(outputs))
        runner = self._prepared.get(question)
        if runner is None:
            signature = self.signatures[signature_name]
            runner = self._runner(signature, inputs, tuple(signature.outputs[alias].name for alias in outputs))
            if len(self._prepared) < _MOST_PREPARED:  # clients choose among outputs, in any order
                self._prepared[question] = runner
        return dict(zip(outputs, self._run(runner, inputs), strict=True))

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """See `Servable.run_together`."""
        self._check_shapes(outputs[0].signature, inputs)
        names = [self.signatures[output.signature].outputs[output.alias].name for output in outputs]
        fetches = tuple(dict.fromkeys(names))
        runner = self._runner(self.signatures[outputs[0].signature], inputs, fetches)
        values = dict(zip(fetches, self._run(runner, inputs), strict=True))
        return [values[name] for name in names]

    def close(self) -> None:
        """See `Servable.close`; a warm-up that was left behind may still run, and ends with CANCELLED."""
        session, self._session = self._session, None
        self._runners.clear()
        self._prepared.clear()
        if session is not None:
            session.close()
            del session
        gc.collect()

    def is_quick(self, signature_name: str) -> bool:
        """See `Servable.is_quick`."""
        runners = self._runners_by_feeds.get(self._feeds[signature_name])
        return runners is not None and all(runner.is_quick for runner in runners)

    def _runner(self, signature: Any, inputs: Tensors, fetches: tuple[str, ...]) -> Runner:
        feeds = tuple(signature.inputs[alias].name for alias in inputs)
        return self._runners.get((feeds, fetches)) or self._new_runner(feeds, fetches)

    def _new_runner(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Runner:
        def prepare(options: Any) -> Compute:
            session = self._session
            if session is None:
                raise StatusError(Code.CANCELLED, "The model is unloaded.")
            # Far cheaper per call than Session.run, which resolves the names each time; in TensorFlow since 1.5.
            prepared: Compute = session._make_callable_from_options(
                config_pb2.CallableOptions(feed=feeds, fetch=fetches, run_options=options)
            )
            return prepared

        with self._lock:
            if (feeds, fetches) not in self._runners:
                runner = self._runners[feeds, fetches] = Runner(prepare, has_loops=self._has_loops)
                self._runners_by_feeds.setdefault(frozenset(feeds), []).append(runner)
            return self._runners[feeds, fetches]

    def _check_shapes(self, signature_name: str, inputs: Tensors) -> None:
        for alias, shape in self._shapes.get(signature_name, {}).items():
            if alias in inputs and not shape.is_compatible_with(np.shape(inputs[alias])):
                given = ",".join(map(str, np.shape(inputs[alias])))
                wanted = ",".join("?" if size is None else str(size) for size in shape.as_list())
                raise invalid_argument(f"Input {alias} has shape [{given}], but the signature takes [{wanted}]")

    def _run(self, runner: Runner, inputs: Tensors) -> list[Any]:
        try:
            values = runner.run(list(inputs.values()), current_request().deadline)
        except tf.errors.OpError as error:
            raise StatusError(Code(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            raise invalid_argument(str(error)) from error
        self._on_run()
        return values


def _has_any(graph: Any, operation: re.Pattern[str]) -> bool:
    """Whether the graph, or a function of it, has such an operation."""
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(operation.search(node.op) for group in nodes for node in group)


def _shapes_of(signature: Any) -> dict[str, tf.TensorShape]:
    """The shapes of inputs, as far as anything is known of them."""
    return {
        alias: tf.TensorShape(info.tensor_shape)
        for alias, info in signature.inputs.items()
        if not info.tensor_shape.unknown_rank
    }


def _load_error(error: Exception, path: Path) -> StatusError:
    if not (path / "saved_model.pb").is_file() and not (path / "saved_model.pbtxt").is_file():
        return StatusError(
            Code.NOT_FOUND, f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
        )
    if isinstance(error, tf.errors.OpError):
        return StatusError(Code(error.error_code), error.message)
    return StatusError(Code.UNKNOWN, f"{type(error).__name__}: {error}")


if TYPE_CHECKING:
    _: type[Servable] = SavedModel
