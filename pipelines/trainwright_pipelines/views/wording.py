"""States, times, durations and sizes in words: the same on the screen and on pages."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from trainwright_components.images import is_logical
from trainwright_pipelines.engine.records import State, Task

_LONGEST_LINE = 160


def has_own_code(task: Task) -> bool:
    """Whether a step runs code of its author, not of a component of ours."""
    return not task.is_group and task.image != "" and not is_logical(task.image)


def shown_state(task: Task) -> str:
    """The state as a person reads it: a result that was taken over from an earlier run says so."""
    return "CACHED" if task.is_cached and task.state == State.SUCCEEDED else str(task.state)


def reuse_note(task: Task) -> str:
    """Where a step's results were taken from, or why it ran; nothing for what is never looked up."""
    prefix = "not reused: " if task.cache.get("result") == "miss" else ""
    kept = f"; not kept for later runs: {task.cache['not_kept']}" if "not_kept" in task.cache else ""
    return f"{prefix}{task.cache.get('why', '')}{kept}"


def iterations_to_come(tasks: Iterable[Task]) -> dict[str, str]:
    """Of loops that have not opened all of their iterations: how many are left, in words, by the loop's path."""
    tasks = list(tasks)
    opened = Counter(task.parent_path for task in tasks)
    left = {task.path: (task.item_count or 0) - opened[task.path] for task in tasks if task.item_count}
    return {
        task.path: f"{left[task.path]:,} of {task.item_count:,} iterations have not begun"
        for task in tasks
        if left.get(task.path, 0) > 0
    }


def step_option(task: Task, tasks: Iterable[Task]) -> str:
    """What `--step` takes for `task`, ready for a shell: its label, or its path where another task goes by the same."""
    same = [each for each in tasks if task.label in {each.label, each.name, each.display_name, each.path}]
    return shlex.quote(task.label if len(same) == 1 else task.path)


def short_time(moment: datetime | None) -> str:
    """Local time to the second, or nothing."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def short_seconds(seconds: float | None) -> str:
    """A duration as a person says it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def packages_note(task: Task) -> str:
    """What was installed for a step at last, beside what this environment has; empty where it asked for none."""
    packages = task.attempts[-1].packages if task.attempts else {}
    if not packages:
        return ""
    seconds = task.attempts[-1].installed_s
    how = "there from an earlier step" if seconds is None else f"installed in {short_seconds(seconds)}"
    return f"{', '.join(f'{name} {version}' for name, version in packages.items())}; {how}"


def short_size(size_bytes: float) -> str:
    """A size in the unit that keeps it short: 812 B, 14.2 kB, 3.1 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError


def short_line(text: str) -> str:
    """A message on one line that most screens hold, where the whole of it is told elsewhere."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


def plain_value(value: Any) -> str:
    """A value on one line: numbers to six significant digits, structures as JSON."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
