"""What the end of an attempt means: its exit code, what the task itself said, the end of its log."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from trainwright_components.files import legible
from trainwright_pipelines.engine.contract import StepFolder
from trainwright_pipelines.engine.isolation.protocol import StepEnd
from trainwright_pipelines.engine.records import State, Task
from trainwright_pipelines.engine.step_logs import end_of
from trainwright_pipelines.ir.spec import Retry

_SIGNAL_EXITS = {-9: "killed (SIGKILL; out of memory?)", -15: "terminated (SIGTERM)", -11: "crashed (SIGSEGV)"}
_NOT_FOUND = 127
_NO_KFP = "No module named 'kfp'"
_GET_KFP = "leave install_kfp_package on, so that the step installs it as it starts, or choose an image that has it"


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended; no error means well. `kind` names the error's class where the task told it.

    `stale_input` is an input that the task said no longer holds.
    """

    exit_code: int | None
    error: str = ""
    kind: str = ""
    detail: str = ""
    stale_input: str = ""

    def __post_init__(self) -> None:
        """Records, pages and terminals hold UTF-8, and messages quote whatever a step has met."""
        for name in ("error", "kind", "detail"):
            object.__setattr__(self, name, legible(getattr(self, name)))


def describe_end(ended: StepEnd, folder: StepFolder, log: Path) -> AttemptEnd:
    """What the end of a step means: what the task itself said, else what it ran in, else the end of its log."""
    code = ended.code
    if code == 0:
        return AttemptEnd(exit_code=0)
    if (said := said_end(code, folder)) is not None:
        return said
    end = end_of(log)
    if ended.reason or code is None:
        return AttemptEnd(exit_code=code, error=ended.reason, detail=end)
    reason = _SIGNAL_EXITS.get(code) or (f"ended by signal {-code}" if code < 0 else f"exit code {code}")
    if code == _NOT_FOUND:
        place = f"in its image {ended.image}" if ended.image else "on this machine"
        reason += f": a program that it calls is not {place}"
    if ended.image and _NO_KFP in end:
        reason += f": its image {ended.image} has no kfp; {_GET_KFP}"
    last = end.rstrip().rsplit("\n", 1)[-1]
    return AttemptEnd(exit_code=code, error=f"{reason}: {last}" if last else reason, detail=end)


def said_end(code: int | None, folder: StepFolder) -> AttemptEnd | None:
    """What the task itself said of its failure; None where it said nothing that can be read."""
    if not folder.report.is_file():
        return None
    try:
        said = json.loads(folder.report.read_bytes())
    except (ValueError, RecursionError):  # it was killed, or the disk was full, while it wrote
        return None
    if not isinstance(said, dict) or not {"error", "detail"} <= said.keys():  # its own code wrote it
        return None
    told = {name: str(said.get(name, "")) for name in ("error", "kind", "detail", "stale_input")}
    return AttemptEnd(exit_code=code, **told)


def next_retry(task: Task, policy: Retry, now: datetime) -> tuple[int, float]:
    """Which try comes next, 0 for the first, and how many seconds to wait before it.

    A process that was killed between two tries, or while it tried, has left the series unfinished: it goes on where it
    was, and what is left of the waiting is waited for. A series that came to its end begins anew.
    """
    if not task.attempts:
        return 0, 0.0
    last = task.attempts[-1]
    if last.state == State.CANCELED and last.retry <= policy.count:
        return last.retry, 0.0
    if last.state != State.FAILED or last.retry >= policy.count:
        return 0, 0.0
    retry = last.retry + 1
    passed_s = (now - (last.finished or now)).total_seconds()
    return retry, min(max(policy.wait_s(retry) - passed_s, 0.0), policy.wait_s(retry))


def end_last_attempt(task: Task, state: State, error: str) -> Task:
    """The task with its last attempt ended."""
    last = replace(task.attempts[-1], state=state, finished=datetime.now(UTC), error=legible(error))
    return replace(task, attempts=(*task.attempts[:-1], last))
