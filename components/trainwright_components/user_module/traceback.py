"""The part of a traceback that is the user's own: their frames and the exception, without the libraries between."""

import re
import sys
import traceback
from pathlib import Path
from typing import Any

from trainwright_components.errors import TrainwrightError

_WRAPPED_BY_AUTOGRAPH = "in user code:"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Keras 3.15 and tf_keras 2.21 put this before and after what a layer raised.
_AROUND_BY_KERAS = re.compile(
    r"Exception encountered when calling [^\n]*\n\n(.*?)\s*(?:(?:Call a|A)rguments received by .*)?", re.DOTALL
)
_OWN_PACKAGE = Path(__file__).resolve().parents[1]


def format_user_traceback(error: BaseException, location: Path) -> str:
    """Like Python's traceback of `error`, with only the frames of files at `location`.

    An error of ours that AutoGraph wrapped stands there as it was raised.
    """
    shown = innermost_own_error(error) or error
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(user_frames(error, location))]
    return _COLOURS.sub("", "".join([*lines, *traceback.format_exception_only(shown)]))


def reason_of(error: BaseException) -> str:
    """What `error` says, without what Keras or AutoGraph put around it; it may have several lines, or none."""
    while str(error).startswith(_WRAPPED_BY_AUTOGRAPH) and (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # which else is a repr
    found = _AROUND_BY_KERAS.fullmatch(_COLOURS.sub("", said).strip())
    return found[1].strip() if found else _COLOURS.sub("", str(error)).strip()


def last_user_frame(error: BaseException, location: Path) -> traceback.FrameSummary | None:
    """The innermost frame of the user's code, or None when the exception never passed through it."""
    frames = user_frames(error, location)
    return frames[-1] if frames else None


def innermost_own_error(error: BaseException | None) -> TrainwrightError | None:
    """The error of ours that `error` is, or that AutoGraph wrapped in it."""
    while error is not None and str(error).startswith(_WRAPPED_BY_AUTOGRAPH):
        error = error.__cause__ or error.__context__
    return error if isinstance(error, TrainwrightError) else None


def user_frames(error: BaseException, location: Path) -> list[traceback.FrameSummary]:
    """Frames of `error`, and of what it was raised from, that lie in the user's file or folder."""
    metadata = getattr(error, "ag_error_metadata", None)  # AutoGraph's map from generated code to the user's lines
    frames = [_from_autograph(frame) for frame in reversed(metadata.translated_stack)] if metadata else []
    frames = frames or list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if _is_users(Path(frame.filename), location)]
    cause = error.__cause__ or error.__context__
    return own or (user_frames(cause, location) if cause is not None else [])


def running_user_code(location: Path) -> str:
    """Where a thread is in the user's file or folder right now, called by us or by a library, in words."""
    for frame in sys._current_frames().values():
        stack = traceback.extract_stack(frame)
        called = [number for number, one in enumerate(stack) if Path(one.filename).is_relative_to(_OWN_PACKAGE)]
        own = [one for one in stack[called[-1] if called else 0 :] if _is_users(Path(one.filename), location)]
        if own:
            return f"{own[-1].name} ({Path(own[-1].filename).name}, line {own[-1].lineno})"
    return ""


def _from_autograph(frame: Any) -> traceback.FrameSummary:
    return traceback.FrameSummary(frame.filename, frame.lineno, frame.function_name, line=frame.code)


def _is_users(file: Path, location: Path) -> bool:
    if "site-packages" in file.parts or file.is_relative_to(_OWN_PACKAGE):
        return False
    if location.is_dir():
        return file.is_relative_to(location)
    return file.parent == location.parent
