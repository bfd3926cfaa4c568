"""Several requests' tensors as one, and one answer's tensors as several: join, pad, split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainwright_components.model_server.servable import Tensors
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

_MAX_PADDED_RANK = 6


def batch_size(inputs: Tensors) -> int:
    """Rows of a request.

    Raises:
        StatusError: It has none, or its inputs do not have the same number.
    """
    if not inputs:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    sizes = set()
    for value in inputs.values():
        if not np.ndim(value):
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes.add(len(value))
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return int(sizes.pop())


def joined(requests: Sequence[Tensors], names: Mapping[str, str], *, size: int, is_padded: bool) -> dict[str, Any]:
    """The tensors of all `requests` in one batch.

    Args:
        requests: Inputs by alias, with the same aliases each.
        names: Tensor name by alias, for messages.
        size: Rows of the batch; what is missing is filled with the first row of the last request.
        is_padded: Fill shorter inputs up to the longest, with their first value.

    Raises:
        StatusError: The shapes do not fit together.
    """
    batch = {}
    for alias in requests[0]:
        parts = [np.asarray(request[alias]) for request in requests]
        if is_padded:
            parts = _padded(parts)
        elif any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"Tensors with name '{names[alias]}' from different tasks have different shapes and padding is turned "
                "off.Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
                "have equal dimensions starting with the first dim.",
            )
        missing = size - sum(len(part) for part in parts)
        if missing > 0:
            parts.append(np.repeat(parts[-1][:1], missing, axis=0))
        batch[alias] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return batch


def split(outputs: Sequence[Any], sizes: Sequence[int], total: int) -> list[list[Any]]:
    """The outputs of each request; rows after those are fill.

    Args:
        outputs: Outputs of the batch.
        sizes: Rows of each request.
        total: Rows of the batch with fill.

    Raises:
        StatusError: An output does not have one row per row of input.
    """
    answers: list[list[Any]] = [[] for _ in sizes]
    for value in outputs:
        if not np.ndim(value):
            raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if len(value) != total:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
        start = 0
        for answer, rows in zip(answers, sizes, strict=True):
            answer.append(value[start : start + rows])
            start += rows
    return answers


def _padded(parts: list[Any]) -> list[Any]:
    rank = parts[0].ndim
    if not 1 <= rank <= _MAX_PADDED_RANK:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    if any(part.ndim != rank for part in parts):
        raise invalid_argument("Tensors of different ranks cannot be padded to one shape.")
    longest = np.max([part.shape for part in parts], axis=0)[1:]
    return [_filled_up(part, (len(part), *longest)) for part in parts]


def _filled_up(part: Any, shape: tuple[int, ...]) -> Any:
    if part.shape == shape:
        return part
    if not part.size:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    filled = np.full(shape, part.flat[0], part.dtype)
    filled[tuple(slice(length) for length in part.shape)] = part
    return filled
