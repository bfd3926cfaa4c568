"""Outputs of a step that hold a secret of its: they are stored and shown as they are, which the step is warned of."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainwright_pipelines.engine.masking import Mask
from trainwright_pipelines.engine.records import Values

SEARCHED_BYTES = 64 << 20
"""Of each artifact."""
_LEAST_CHARS_IN_FILES = 8  # fewer stand in large files by chance
_CHUNK_BYTES = 1 << 20


def disclosed(values: Values, secrets: Iterable[str]) -> Iterator[str]:
    """A warning for each output that holds one of these secrets, as it is or encoded, or cannot be searched."""
    given = list(secrets)
    if not given:
        return
    mask, file_mask = Mask(given), Mask(each for each in given if len(each.strip()) >= _LEAST_CHARS_IN_FILES)
    for name, value in values.parameters.items():
        if mask.finds(_text(value)):
            yield _warning(name)
    for name, artifacts in values.artifacts.items():
        for each in artifacts:
            told = [each.uri, dict(each.metadata)]
            try:
                is_told = mask.finds(_text(told)) or (each.path is not None and _is_in(each.path, file_mask))
            except OSError as error:  # such as of a hidden file, which no digest reads: the step is none the worse
                yield f"its output {name!r} cannot be searched for values of secrets: {error}"
                continue
            if is_told:
                yield _warning(name)
                break


def _text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def _warning(name: str) -> str:
    return (
        f"its output {name!r} holds a value of a secret that the step is given. Outputs are stored and shown as they "
        "are: leave it out, and give steps that need it the secret itself"
    )


def _is_in(path: Path, mask: Mask) -> bool:
    left = SEARCHED_BYTES if mask else 0
    for file in _files(path):
        if not left:
            return False
        rest = b""
        with file.open("rb") as stream:
            while left > 0 and (chunk := stream.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                if mask.finds(known := rest + chunk):
                    return True
                rest = known[mask.border(known) :]
    return False


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for root, _, names in os.walk(path):
        yield from (file for name in sorted(names) if (file := Path(root, name)).is_file())
