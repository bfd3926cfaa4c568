"""Objectives whose optimum is known, and a warm process without TensorFlow to fork them from."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.tuning.controller import run_study
from trainwright_components.tuning.runners.forked import ForkedTrials
from trainwright_components.tuning.space_parsing import parse_space
from trainwright_components.tuning.study import Study, TuningSettings

OBJECTIVES = '''
import ctypes, os, signal, subprocess, time
from trainwright_components.processes.warm_parent import WarmParent

def parabola(trial):
    """Largest, 0, at x = 3."""
    (trial.folder / "model").mkdir()
    (trial.folder / "model" / "x.txt").write_text(str(trial.params["x"]))
    return {"score": -(trial.params["x"] - 3.0) ** 2}

def as_told(trial):
    """Each value is its own result."""
    return {"score": float(trial.params["x"])}

def raise_above(trial, limit):
    if trial.params["x"] > limit:
        raise ValueError(f"x is over {limit}")
    return {"score": float(trial.params["x"])}

def diverge(trial):
    trial.report(1, {"score": 1.0})
    trial.report(2, {"score": float("nan")})

def forget_the_metric(trial):
    return {"loss": 1.0, "accuracy": 0.5}

def curve(trial, slow):
    """Reports its x five times; the slow one takes as long as a training would."""
    for step in range(1, 6):
        if trial.report(step, {"score": float(trial.params["x"])}):
            return
        deadline = time.monotonic() + 20 * (trial.params["x"] == slow)
        while time.monotonic() < deadline and not (trial.folder / "stop").exists():
            time.sleep(0.01)

def peak(trial):
    """1, 5, 2."""
    for step, value in enumerate((1.0, 5.0, 2.0), start=1):
        trial.report(step, {"score": value})

def die_once(trial):
    mark = trial.folder / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"score": 1.0}

def die(trial):
    os.kill(os.getpid(), signal.SIGKILL)

def meet(trial, folder, others):
    """Succeeds only if so many trials run at once."""
    (__import__("pathlib").Path(folder) / str(trial.params["x"])).touch()
    deadline = time.monotonic() + 20
    while len(os.listdir(folder)) < others and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"score": float(len(os.listdir(folder)))}

def hang(trial, at, way):
    """Returns its x, except at one value: there it never ends, in Python, or in C with SIGTERM blocked and the GIL."""
    if trial.params["x"] == at:
        trial.report(1, {"score": 99.0})
        if way == "c":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            ctypes.PyDLL(None).sleep(600)
        time.sleep(600)
    return {"score": float(trial.params["x"])}

def hang_with_helpers(trial, at, folder):
    """Hangs at one value together with a process, one in a session of its own, its child, and a cluster's member."""
    if trial.params["x"] == at:
        note = f"touch {folder}/$$; "
        sleeper = ["sh", "-c", f"{note} exec sleep 600"]
        subprocess.Popen(sleeper)
        subprocess.Popen(["sh", "-c", f"{note} sh -c '{note} exec sleep 600'; true"], start_new_session=True)
        member = WarmParent.connect_or_start().spawn("subprocess:run", {"args": sleeper}, log=trial.folder / "member")
        member.wait()
    return {"score": float(trial.params["x"])}

def wait_for(trial, folder, count):
    """Notes that it began; the first `count` trials end at once, the others wait for a file named go."""
    log = os.open(f"{folder}/begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, f"{trial.folder.name} {trial.params['x']}\\n".encode())
    while int(trial.folder.name) > count and not os.path.exists(f"{folder}/go"):
        time.sleep(0.01)
    return {"score": float(trial.params["x"])}
'''

RunStudy = Callable[..., Study]


@pytest.fixture(scope="session")
def objectives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("objectives") / "objectives.py"
    file.write_text(OBJECTIVES)
    return file


@pytest.fixture(scope="session")
def plain_parent() -> Iterator[WarmParent]:
    with WarmParent.start(preload=("trainwright_components.tuning.objective",)) as parent:
        yield parent


@pytest.fixture
def tune(plain_parent: WarmParent, objectives: Path, tmp_path: Path) -> RunStudy:
    """Run a study of one of the objectives in `tmp_path/study`."""

    def run(objective: str, space: dict[str, Any], *, options: dict[str, Any] | None = None, **tuning: Any) -> Study:
        start, fingerprint = tuning.pop("start", None), tuning.pop("fingerprint", "")
        clock = tuning.pop("clock", time.monotonic)
        settings = TuningSettings.from_mapping({"metric": "score", "goal": "MAXIMIZE", **tuning})
        runner = ForkedTrials(parent=plain_parent, objective=f"{objectives}:{objective}", options=options or {})
        return run_study(
            tmp_path / "study",
            parse_space(space),
            settings,
            runner,
            starting_point=start,
            fingerprint=fingerprint,
            clock=clock,
        )

    return run
