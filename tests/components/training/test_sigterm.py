"""A training run alone in its process ends within seconds of SIGTERM, whatever the user's code does meanwhile."""

import signal
import time
from pathlib import Path

import pytest

from trainwright_components.processes.warm_parent import WarmParent
from trainwright_components.training.recovery.countdown import GRACE_S

SCRIPT = Path(__file__).parent / "modules" / "train_hanging.py"
HANGS = "asked to end, but sleep (hanging.py, line 17) did not return within {} s: ended without saving"
LOCKED = "asked to end, but Python's lock is held by other code: killed without saving"
SAVED = "asked to end: saved a checkpoint at step"
ENDS = {
    ("train", "sleep"): (143, HANGS.format(GRACE_S)),
    ("validation", "sleep"): (143, HANGS.format(2 * GRACE_S)),
    ("build", "sleep"): (143, HANGS.format(GRACE_S)),
    ("callback", "swallow"): (143, HANGS.format(GRACE_S)),
    ("train", "hold_the_lock"): (-9, LOCKED),
    ("callback", "slow_step"): (143, SAVED),
    ("build", "end_a_pool"): (143, SAVED),
}


@pytest.mark.slow  # seconds of seven training processes: other work on the same cores would be measured with them
def test_every_hang_ends_a_few_seconds_after_sigterm(
    tiny_dataset: Path, tmp_path: Path, warm_parent: WarmParent
) -> None:
    """All at the same time, since each takes its seconds; who can still save does."""
    children = {}
    for where, how in ENDS:
        folder = tmp_path / f"{where}-{how}"
        folder.mkdir()
        env = {"WHERE": where, "HOW": how, "DATASET": str(tiny_dataset), "FOLDER": str(folder)}
        child = warm_parent.spawn("runpy:run_path", {"path_name": str(SCRIPT)}, log=folder / "log", env=env)
        children[where, how] = child, folder
    deadline = time.monotonic() + 90
    while not all((folder / "reached").exists() for _, folder in children.values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for child, _ in children.values():
        child.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    for (where, how), (child, folder) in children.items():
        with child:
            code, said = ENDS[where, how]
            assert (where, how, child.wait(60)) == (where, how, code)
            assert said in (folder / "log").read_text()
            assert any((folder / "model").glob("checkpoints/step-*.npz")) is (said == SAVED)
    assert time.monotonic() - asked < 6 * GRACE_S
