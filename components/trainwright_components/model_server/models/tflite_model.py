"""A TFLite model, computed by interpreters that requests take turns with."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from trainwright_components.model_server.models.tflite_signature import read_signatures
from trainwright_components.model_server.servable import OutputOf, Servable, Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

FILE_NAME = "model.tflite"


class TfliteModel:
    """One TFLite file.

    Args:
        path: The version's folder, with `model.tflite`.
        interpreters: Requests computed at once; interpreters are made as they are needed.

    Raises:
        StatusError: The file is not a TFLite model, or needs operations that the interpreter lacks.
    """

    def __init__(self, path: Path, *, interpreters: int) -> None:
        try:
            self._content = (path / FILE_NAME).read_bytes()
        except OSError as error:
            raise StatusError(Code.NOT_FOUND, f"{path / FILE_NAME}: {error.strerror}") from error
        first = _Interpreter(self._content)
        self.signatures: Mapping[str, Any] = read_signatures(self._content, first.inputs, first.outputs)
        self._idle = [first]
        self._missing = interpreters - 1
        self._changed = threading.Condition()

    def run(self, signature_name: str, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Any]:
        """See `Servable.run`."""
        signature = self.signatures[signature_name]
        interpreter = self._take()
        try:
            values = interpreter.compute(
                {signature.inputs[alias].name: value for alias, value in inputs.items()},
                [signature.outputs[alias].name for alias in outputs],
            )
        finally:
            self._give_back(interpreter)
        return dict(zip(outputs, values, strict=True))

    def run_together(self, inputs: Tensors, outputs: Sequence[OutputOf]) -> list[Any]:
        """See `Servable.run_together`; a TFLite model has one signature."""
        aliases = [output.alias for output in outputs]
        values = self.run(outputs[0].signature, inputs, list(dict.fromkeys(aliases)))
        return [values[alias] for alias in aliases]

    def is_quick(self, signature_name: str) -> bool:  # noqa: ARG002  # of the protocol
        """See `Servable.is_quick`: it may have to wait for an interpreter."""
        return False

    def close(self) -> None:
        """See `Servable.close`."""
        self._idle.clear()

    def _take(self) -> "_Interpreter":
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._missing)
            if self._idle:
                return self._idle.pop()
            self._missing -= 1
        return _Interpreter(self._content)

    def _give_back(self, interpreter: "_Interpreter") -> None:
        with self._changed:
            self._idle.append(interpreter)
            self._changed.notify()


class _Interpreter:
    def __init__(self, content: bytes) -> None:
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise invalid_argument(f"Cannot build Interpreter from buffer: {error}") from error
        self.inputs = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        self.outputs = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        self._shapes = {name: tuple(detail["shape"]) for name, detail in self.inputs.items()}

    def compute(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> list[Any]:
        self._resize({name: np.shape(value) for name, value in inputs.items()})
        try:
            for name, value in inputs.items():
                self._interpreter.set_tensor(self.inputs[name]["index"], value)
            self._interpreter.invoke()
        except ValueError as error:
            raise invalid_argument(str(error)) from error
        except RuntimeError as error:
            raise StatusError(Code.INTERNAL, f"Failed to run interpreter: {error}") from error
        return [self._interpreter.get_tensor(self.outputs[name]["index"]) for name in outputs]

    def _resize(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        changed = {name: shape for name, shape in shapes.items() if shape != self._shapes[name]}
        if not changed:
            return
        try:
            for name, shape in changed.items():
                self._check_rank(name, shape)
                self._interpreter.resize_tensor_input(self.inputs[name]["index"], shape, strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            self._shapes = dict.fromkeys(self._shapes, (-1,))  # whatever comes next has to be set again
            raise invalid_argument(f"Failed to resize input tensors to {dict(shapes)}: {error}") from error
        self._shapes.update(changed)

    def _check_rank(self, name: str, shape: tuple[int, ...]) -> None:
        declared = self.inputs[name]["shape_signature"]
        if len(shape) != len(declared):
            raise ValueError(f"{name!r} takes tensors of rank {len(declared)}")


if TYPE_CHECKING:
    _: type[Servable] = TfliteModel
