"""Values of secrets, hidden in what a step prints: as they are, and as programs quote and encode them.

A value shorter than `LEAST_CHARS` stays: hiding it would hide every place where these letters stand by chance.
"""

import base64
import html
import json
import os
import re
import selectors
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

LEAST_CHARS = 4
MASK = "***"
VARIABLE = "TRAINWRIGHT_MASKED"
"""Tells a step which of its variables, and the files of which of its folders, it may not name in its error."""
_LEAST_ENCODED_CHARS = 8
_BASE64_COLUMNS = (64, 76)  # of PEM and of MIME, which the program `base64` follows
_URL_SAFE = str.maketrans("+/", "-_")
_CHUNK_BYTES = 1 << 16
_LONGEST_LINE_BYTES = 1 << 20
_LINE_END = re.compile(rb"[\r\n]")
_DRAIN_S = 5.0


class Mask:
    """Hides some values wherever they stand."""

    def __init__(self, values: Iterable[str]) -> None:
        found = {form for value in values for form in _forms(value) if not re.search(r"[\r\n]", form)}
        longest_first = sorted((each.encode(errors="surrogateescape") for each in found), key=len, reverse=True)
        self._longest = len(longest_first[0]) if longest_first else 0
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def content(self, content: bytes) -> bytes:
        """`content` without the values."""
        return content if self._pattern is None else self._pattern.sub(MASK.encode(), content)

    def finds(self, content: bytes) -> bool:
        """Whether one of the values stands in `content`."""
        return self._pattern is not None and self._pattern.search(content) is not None

    def border(self, content: bytes) -> int:
        """Where `content` can be cut so that no value, nor the beginning of one, is cut."""
        end = max(0, len(content) - self._longest)
        for found in self._pattern.finditer(content, max(0, end - self._longest)) if self._pattern else ():
            if found.start() < end < found.end():
                return found.start()
        return end

    def text(self, text: str) -> str:
        """`text` without the values."""
        if self._pattern is None:
            return text
        return self.content(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")

    def file(self, path: Path) -> None:
        """Hide the values in a file, if it is there and holds one."""
        content = path.read_bytes() if self and path.exists() else b""
        if (masked := self.content(content)) != content:
            path.write_bytes(masked)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> "Mask":
        """What a step was told not to name, see `told_by`."""
        told = json.loads(environ.get(VARIABLE) or "{}")
        files = [each for folder in told.get("folders", ()) for each in Path(folder).glob("*") if each.is_file()]
        return cls([environ.get(name, "") for name in told.get("variables", ())] + [_content(each) for each in files])


def told_by(variables: Iterable[str], folders: Iterable[Path]) -> dict[str, str]:
    """The variable that tells a step what it may not name; nothing where it is given no secret."""
    told = {"variables": sorted(variables), "folders": sorted(map(str, folders))}
    return {VARIABLE: json.dumps(told)} if any(told.values()) else {}


class MaskedLog:
    """A log that holds no value of a secret at any time: what is written to `pipe` goes to `log` masked, line by line.

    A step's processes have the pipe for a file. A program that outlives its step writes to nobody.
    """

    def __init__(self, log: Path, pipe: Path, mask: Mask) -> None:
        self.pipe = pipe
        self._log = log
        self._mask = mask
        self._rest = b""
        self._failure: OSError | None = None
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._copy, daemon=True, name=f"masks {log}")

    def open(self) -> None:
        """Begin to read from the pipe."""
        os.mkfifo(self.pipe, 0o600)
        self._read = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._write = os.open(self.pipe, os.O_WRONLY)  # else it would end whenever no process has it open
        self._ended, self._end = os.pipe()
        self._thread.start()

    def close(self) -> None:
        """Write what is left.

        Raises:
            OSError: The log could not be written.
        """
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        os.close(self._end)
        self._thread.join()
        for each in (self._read, self._write, self._ended):
            os.close(each)
        self.pipe.unlink(missing_ok=True)
        if self._failure is not None:
            raise self._failure

    def _copy(self) -> None:
        try:
            with self._log.open("ab", buffering=0) as output:
                for content in self._chunks():
                    output.write(self._whole_lines(content))
                output.write(self._mask.content(self._rest))
        except OSError as error:
            self._failure = error
            for _ in self._chunks():  # else the step would wait for ever for somebody to read
                pass

    def _chunks(self) -> Iterator[bytes]:
        deadline = float("inf")
        with selectors.DefaultSelector() as selector:
            for each in (self._read, self._ended):
                selector.register(each, selectors.EVENT_READ)
            while time.monotonic() < deadline:  # a program that outlives its step may write for ever
                ready = {key.fd for key, _ in selector.select()}
                if self._ended in ready:
                    deadline = min(deadline, time.monotonic() + _DRAIN_S)
                if self._read not in ready:
                    return
                yield os.read(self._read, _CHUNK_BYTES)

    def _whole_lines(self, content: bytes) -> bytes:
        """What can be written now: a value has no end of line, so none stands half in whole lines."""
        known = self._rest + content
        ends = [each.end() for each in _LINE_END.finditer(known, len(self._rest))]
        end = ends[-1] if ends else 0
        if not ends and len(known) > _LONGEST_LINE_BYTES:
            end = self._mask.border(known)
        whole, self._rest = known[:end], known[end:]
        return self._mask.content(whole)


def _forms(value: str) -> Iterator[str]:
    """How a value looks where it was printed, quoted, encoded, or printed line by line."""
    for line in value.splitlines():
        if len(line.strip()) >= LEAST_CHARS:
            yield line.strip()
    if len(value.strip()) < LEAST_CHARS:
        return
    yield from (quote(value), quote(value, safe=""), quote_plus(value), html.escape(value))
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])
    for encoded in _in_base64(value.encode(errors="surrogateescape")):
        if len(encoded) >= _LEAST_ENCODED_CHARS:
            yield from (encoded, encoded.translate(_URL_SAFE))


def _in_base64(content: bytes) -> Iterator[str]:
    """What of `content` is the same in Base64 whatever stands around it, for each place where it may begin."""
    for shift in range(3):
        first, last = -(-8 * shift // 6), 8 * (shift + len(content)) // 6
        whole = base64.b64encode(bytes(shift) + content).decode()[first:last]
        yield whole
        for columns in _BASE64_COLUMNS if shift == 0 else ():
            yield from (whole[start : start + columns] for start in range(0, len(whole), columns))


def _content(file: Path) -> str:
    return file.read_bytes().decode(errors="surrogateescape")
