"""Progress: plain lines, and a table in a terminal."""

import io
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trainwright_pipelines.cli.outcome import print_failure
from trainwright_pipelines.cli.progress import LiveProgress, PlainProgress, make_progress
from trainwright_pipelines.engine.records import Event, Run, State, Task, TaskKind
from trainwright_pipelines.views.logs import last_lines

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _event(path: str, state: State, **more: Any) -> Event:
    parent, _, name = path.rpartition("/")
    defaults = {"kind": TaskKind.PYTHON, "started": START}
    task = Task(
        id=path,
        run_id="r",
        name=name,
        path=path,
        parent_path=parent,
        component=f"comp-{name}",
        display_name=name,
        state=state,
        **{**defaults, **more},
    )
    return Event(run_id="r", time=START, state=state, task=task)


def test_plain_progress_is_one_line_per_change() -> None:
    stream = io.StringIO()
    with PlainProgress(stream) as progress:
        for event in (
            Event(run_id="r", time=START, state=State.RUNNING),
            _event("a", State.PENDING),
            _event("a", State.RUNNING),
            _event("a", State.RUNNING),
            _event("a", State.SUCCEEDED, finished=START + timedelta(seconds=2)),
            _event("condition-1", State.RUNNING, kind=TaskKind.DAG),
            _event("condition-1/b", State.SUCCEEDED, finished=START, is_cached=True),
            _event("condition-1/c", State.FAILED, finished=START + timedelta(seconds=75), error="out of luck"),
        ):
            progress(event)
    assert stream.getvalue().splitlines() == [
        "a: running",
        "a: succeeded  2.0 s",
        "b: cached",
        "c: failed  1 min 15 s  out of luck",
    ]


def test_a_long_error_is_cut_where_the_whole_of_it_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream, error = io.StringIO(), f"ValueError: {'no ' * 200}luck"
    event = _event("c", State.FAILED, finished=START + timedelta(seconds=75), error=error)
    PlainProgress(stream)(event)
    [line] = stream.getvalue().splitlines()
    assert (len(line), line[-4:]) == (len("c: failed  1 min 15 s  ") + 160, "no …")
    run = Run(id="r", name="r", pipeline="p", folder=tmp_path, state=State.FAILED, parameters={}, created=START)
    assert event.task is not None
    for task in (event.task, replace(event.task, error_detail=f"Traceback:\n  line 1\n{error}\n")):
        print_failure(run, task, [task])
        assert capsys.readouterr().err.count(error) == 1


class Spoken(io.StringIO):
    """Tells when a line was written."""

    def __init__(self) -> None:
        super().__init__()
        self.has_spoken = threading.Event()

    def flush(self) -> None:
        self.has_spoken.set()


def test_warnings_of_running_steps_are_passed_on_once(tmp_path: Path) -> None:
    restart = "worker-1 ended: killed by signal 9; restart 1 of 2"
    log, stream = tmp_path / "log", Spoken()
    log.write_text("21:05:00 epoch 1\n")
    with PlainProgress(stream) as progress:
        progress(_event("train", State.RUNNING, log=log))
        stream.has_spoken.clear()
        with log.open("a") as growing:
            growing.write(f"21:05:01 warning: {restart}\n21:05:02 warning: {restart}\n21:05:03 [ps-0] warning: none\n")
        assert stream.has_spoken.wait(30)
        with log.open("a") as growing:
            growing.write("21:05:04 warning: at last\n21:05:05 warning: half")
        progress(_event("train", State.SUCCEEDED, log=log, finished=START))
    assert stream.getvalue().splitlines() == [
        "train: running",
        f"warning: train: {restart}",
        "warning: train: at last",
        "train: succeeded  0.0 s",
    ]


def test_a_warning_of_the_engine_is_told_once_whichever_step_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("21:05:00 warning: logged\n")
    plain, live, narrow = io.StringIO(), io.StringIO(), "no effect [bold] " * 20
    for progress in (PlainProgress(plain), LiveProgress(live)):
        with progress:
            progress(_event("a", State.RUNNING, log=tmp_path / "log"))
            for path, message in (("a", narrow), ("b", narrow), ("a", "logged")):
                progress(replace(_event(path, State.RUNNING), message=message, is_warning=True))
            progress(Event(run_id="r", time=START, state=State.RUNNING, message="of the run", is_warning=True))
    told = {f"warning: a: {narrow}", "warning: a: logged", "warning: of the run"}
    assert sorted(plain.getvalue().splitlines()) == sorted({"a: running", *told})
    assert [live.getvalue().count(each) for each in told] == [1, 1, 1]


def test_the_live_table_shows_the_last_line_of_a_running_step(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nepoch 1\repoch 2 of 9\n")
    progress = LiveProgress(io.StringIO())
    progress(_event("later", State.PENDING, started=None))
    progress(_event("train", State.RUNNING, log=log))
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(progress._table())
    first, second = console.export_text().splitlines()
    assert "train" in first
    assert "RUNNING" in first
    assert "epoch 2 of 9" in first
    assert "later" in second


def test_of_many_steps_the_live_table_shows_those_that_tell_most_and_counts_the_others() -> None:
    progress = LiveProgress(io.StringIO())
    for number in range(1000):
        is_bad = number == 3
        ended = {"finished": START + timedelta(seconds=number), "error": "too bad" if is_bad else ""}
        progress(_event(f"loop/{number}/work", State.FAILED if is_bad else State.SUCCEEDED, **ended))
    progress(_event("loop/1000/work", State.RUNNING))
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(progress._table())
    lines = console.export_text().splitlines()
    assert len(lines) == 41
    assert sum("loop/3/work" in line and "too bad" in line for line in lines) == 1
    assert sum("loop/1000/work" in line and "RUNNING" in line for line in lines) == 1
    assert sum("loop/999/work" in line for line in lines) == 1
    assert "961 more steps: 961 succeeded" in lines[-1]


def test_a_long_line_is_shown_whole_in_a_narrow_terminal(tmp_path: Path) -> None:
    said = "[worker-0] epoch 12/60, step 240/1200, 3,044 examples/s, 20s left: loss 0.0497 val_loss 0.1311"
    log = tmp_path / "log"
    log.write_text(f"21:05:00 {said}\n")
    progress = LiveProgress(io.StringIO())
    progress(_event("train", State.RUNNING, log=log))
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(progress._table())
    shown = console.export_text()
    assert len(shown.splitlines()) > 1
    assert " ".join(shown.partition("[worker-0]")[2].split()) == said.removeprefix("[worker-0] ")


def test_what_tensorflow_says_where_there_is_no_gpu_is_no_progress(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("epoch 1\nE0000 00:00:17 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\n")
    assert last_lines(log, 1) == ["epoch 1"]


def test_progress_is_live_in_a_terminal_alone() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_progress(io.StringIO()), PlainProgress)
    assert isinstance(make_progress(Terminal()), LiveProgress)
