"""Compare prepare_data with pandas reading the same table, and with an earlier prepare_data; run by hand.

    python tests/benchmarks/prepare.py [--rows 1000000] [--rounds 3] [--against CHECKOUT]

The table is a CSV file of 20 columns: 12 of floats, 4 of integers, 3 of texts, and the label. In each round all
contestants take it one after the other, each in a process of its own; times are medians, of the call alone, without the
imports. Memory is the most that a process held in any round, its imports among it. `--against` is the root of another
checkout, such as one that `git worktree add --detach FOLDER COMMIT` makes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROWS_AT_ONCE = 100_000
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one contestant took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def write_table(path: Path, rows: int) -> None:
    """The table that all read."""
    random = np.random.default_rng(0)
    for start in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - start)
        columns = {f"f{number}": (random.normal(size=count) * 10 ** (number % 4)).round(4) for number in range(12)}
        columns |= {f"i{number}": random.integers(0, 10 ** (number + 1), count) for number in range(4)}
        for number in range(3):
            values = np.array([f"v{each}" for each in range(5 * (number + 1))], object)
            columns[f"c{number}"] = random.choice(values, count)
        columns["y"] = random.choice(np.array(["yes", "no"], object), count)
        pd.DataFrame(columns).to_csv(path, mode="a", index=False, header=not start)


def measure_here(contestant: str, table: Path) -> Measured:
    """Measure `prepare_data` or `pandas` in this process."""
    import tensorflow as tf

    from trainwright_components.prepare_data.prepare import prepare_data
    from trainwright_components.prepare_data.settings import PrepareSettings

    assert tf.__version__  # imported before the clock starts
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        if contestant == "pandas":
            pd.read_csv(table)
        else:
            prepare_data(str(table), Path(folder) / "dataset", PrepareSettings(label="y"))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(wall_s=wall, cpu_s=cpu, peak_mb=peak)


def measure(contestant: str, table: Path, checkout: Path) -> Measured:
    """Measure in a new process, with the packages of `checkout`."""
    command = [sys.executable, __file__, "--measure", contestant, "--table", str(table)]
    paths = os.pathsep.join(str(checkout / name) for name in ("components", "pipelines"))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, check=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def compare(rows: int, rounds: int, against: Path | None) -> None:
    """Print the table."""
    contestants = {"prepare_data": REPOSITORY, "pandas": REPOSITORY} | ({"earlier": against} if against else {})
    measured: dict[str, list[Measured]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        write_table(table, rows)
        print(f"{rows:,} rows, {table.stat().st_size / 1e6:,.0f} MB\n{'':12}  wall s   cpu s      rows/s  peak MB")
        for _ in range(rounds):
            for name, checkout in contestants.items():
                measured[name].append(measure(name, table, checkout))
    for name, each in measured.items():
        wall, cpu = (statistics.median(times) for times in zip(*((one.wall_s, one.cpu_s) for one in each), strict=True))
        peak = max(one.peak_mb for one in each)
        print(f"{name:12} {wall:7.1f} {cpu:7.1f} {rows / wall:11,.0f} {peak:8,.0f}")
    for name in [name for name in contestants if name != "prepare_data"]:
        pairs = [*zip(measured["prepare_data"], measured[name], strict=True)]
        wall = statistics.median(other.wall_s / ours.wall_s for ours, other in pairs)
        cpu = statistics.median(other.cpu_s / ours.cpu_s for ours, other in pairs)
        print(f"prepare_data's rows per second to those of {name}: {wall:.2f}, by processor time {cpu:.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, or be one of those that are compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.measure:
        print(json.dumps(asdict(measure_here(options.measure, options.table))))
    else:
        compare(options.rows, options.rounds, options.against)


if __name__ == "__main__":
    main()
