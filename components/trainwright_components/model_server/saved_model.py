"""A SavedModel in a TensorFlow session: fed and fetched by tensor name, as TensorFlow Serving does it."""

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from trainwright_components.model_server.request_context import current_request
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

DEFAULT_TAGS = ("serve",)
_TIMEOUTS_MS = tuple(128 * 4**power for power in range(8))  # up to 35 minutes


class SavedModel:
    """One SavedModel, its variables restored and its tables initialised.

    Args:
        path: The version's folder, with `saved_model.pb`.
        tags: The MetaGraph to load.
        session_config: `ConfigProto` of the session; TensorFlow's own choice by default.

    Raises:
        StatusError: The folder holds no SavedModel that can be loaded.
    """

    def __init__(self, path: Path, *, tags: Sequence[str] = DEFAULT_TAGS, session_config: Any = None) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=session_config)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(path))
        except Exception as error:
            self._session.close()
            raise _load_error(error, path) from error
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...], int], Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        """See `Servable.run`."""
        signature = self.signatures[signature_name]
        fetches = tuple(signature.outputs[alias].name for alias in outputs)
        return dict(zip(outputs, self._compute(signature, inputs, fetches), strict=True))

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """See `Servable.run_together`."""
        names = [self.signatures[output.signature].outputs[output.alias].name for output in outputs]
        fetches = tuple(dict.fromkeys(names))
        values = dict(zip(fetches, self._compute(self.signatures[outputs[0].signature], inputs, fetches), strict=True))
        return [values[name] for name in names]

    def close(self) -> None:
        """See `Servable.close`."""
        self._callables.clear()
        self._session.close()
        del self._session
        gc.collect()

    def _compute(self, signature: Any, inputs: Tensors, fetches: tuple[str, ...]) -> list[Any]:
        feeds = tuple(signature.inputs[alias].name for alias in inputs)
        compute = self._callable(feeds, fetches, _timeout_ms(current_request().deadline))
        try:
            return compute(*inputs.values())
        except tf.errors.OpError as error:
            raise StatusError(Code(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            raise invalid_argument(str(error)) from error

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...], timeout_ms: int) -> Callable[..., list[Any]]:
        key = (feeds, fetches, timeout_ms)
        if key not in self._callables:
            with self._lock:
                if key not in self._callables:
                    self._callables[key] = self._prepared(*key)
        return self._callables[key]

    def _prepared(self, feeds: tuple[str, ...], fetches: tuple[str, ...], timeout_ms: int) -> Callable[..., list[Any]]:
        options = config_pb2.CallableOptions(
            feed=feeds, fetch=fetches, run_options=config_pb2.RunOptions(timeout_in_ms=timeout_ms)
        )
        # Far cheaper per call than Session.run, which resolves the names each time; in TensorFlow since 1.5.
        prepared: Callable[..., list[Any]] = self._session._make_callable_from_options(options)
        return prepared


def _timeout_ms(deadline: float | None) -> int:
    """The next of a few limits on a run, since a callable has its limit for good; 0 for none.

    Raises:
        StatusError: The deadline is over.
    """
    if deadline is None:
        return 0
    left_ms = (deadline - time.monotonic()) * 1000
    if left_ms <= 0:
        raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    return next((limit for limit in _TIMEOUTS_MS if left_ms <= limit), 0)


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
