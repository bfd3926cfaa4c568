"""Templates that were compiled before, in a file each: compiling one takes longer than a small run."""

import hashlib
import sys
from contextlib import suppress
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

from trainwright_components.files import write_whole

_DIGEST_BYTES = 32


class CompiledTemplates(BytecodeCache):
    """Keeps code in `folder`. What is damaged, or was made by another version or with other options, is made anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket, if there is something whole to fill it with."""
        with suppress(OSError):
            content = self._file(bucket).read_bytes()
            digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if digest == _digest(bucket, code):
                bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what the bucket holds; a home that cannot be written goes without."""
        code = bucket.bytecode_to_string()
        with suppress(OSError):
            write_whole(self._file(bucket), _digest(bucket, code) + code, is_durable=False)

    def _file(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}.{sys.implementation.cache_tag}.template"


def _digest(bucket: Bucket, code: bytes) -> bytes:
    made_by = bucket.environment
    options = (made_by.autoescape, made_by.trim_blocks, made_by.lstrip_blocks)
    return hashlib.sha256(f"{jinja2.__version__} {options}\n".encode() + code).digest()
