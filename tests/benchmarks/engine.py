"""Measure runs on this machine beside kfp.local with the same compiled specs; run by hand, prints two tables.

    python tests/benchmarks/engine.py [--rounds 5] [--loops 50,1000] [--kfp-up-to 200] [--stored 10000] [--pairs 10]

In each round all contestants take a spec one after the other, each in a process of its own, ours without reuse of
earlier results; times are medians of the whole process, imports among them. The components do nothing, install nothing
and run as processes of this machine in both; kfp.local is what upstream has for that: SubprocessRunner without a venv.
`cpu s` is processor time of the process and its children, which a busy machine disturbs least, and `peak MB` the most
memory that the largest process held in any round. `import` is `import trainwright; trainwright.run`, what any program
pays that runs a pipeline. kfp.local takes more than seven minutes for a loop of 1,000, and is spared it by default.

Then a run in a home that holds another run, beside the same in a home with copies of it: rows of runs, steps, events,
artifacts and reusable results, and folders. Pairs alternate, and the order within a pair too.
"""

import argparse
import itertools
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OURS = (sys.executable, "-m", "trainwright_pipelines.cli.main")
CHAINED = 11
COMPILE = """
import sys
from pathlib import Path
from kfp import compiler, dsl

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def add(a: int, b: int) -> int:
    return a + b

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def write(a: int, data: dsl.Output[dsl.Dataset]):
    open(data.path, "w").write(str(a))

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    return open(data.path).read()

@dsl.pipeline(name="one")
def one(a: int = 1) -> int:
    return add(a=a, b=2).output

@dsl.pipeline(name="chain")
def chain(a: int = 1) -> int:
    task = add(a=a, b=2)
    for _ in range(int(sys.argv[2]) - 1):
        task = add(a=task.output, b=1)
    return task.output

@dsl.pipeline(name="stored")
def stored(a: int = 1) -> str:
    add(a=a, b=3)
    return read(data=write(a=a).output).output

def loop(count: int):
    @dsl.pipeline(name=f"loop-{count}")
    def pipeline():
        with dsl.ParallelFor(list(range(count))) as item:
            add(a=item, b=2)
    return pipeline

for each in (one, chain, stored, *(loop(int(count)) for count in sys.argv[3:])):
    compiler.Compiler().compile(each, str(Path(sys.argv[1], f"{each.name}.yaml")))
"""
KFP_LOCAL = """
import sys
from kfp import components, local

local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
components.load_component_from_file(sys.argv[1])()
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one process took, its children among it."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[str], home: Path) -> Measured:
    """Run a command to its end.

    Raises:
        RuntimeError: It failed.
    """
    env = {**os.environ, "TRAINWRIGHT_HOME": str(home), "TMPDIR": str(home.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read().decode(errors='replace')[-3000:]}")
    return Measured(wall_s=wall, cpu_s=used.ru_utime + used.ru_stime, peak_mb=used.ru_maxrss / 1024)


def medians(measured: Sequence[Measured]) -> Measured:
    """Medians of times, and the highest peak."""
    return Measured(
        wall_s=statistics.median(each.wall_s for each in measured),
        cpu_s=statistics.median(each.cpu_s for each in measured),
        peak_mb=max(each.peak_mb for each in measured),
    )


def compare(folder: Path, rounds: int, loops: Sequence[int], kfp_up_to: int) -> None:
    """Print the first table."""
    program = folder / "specs.py"
    program.write_text(COMPILE)
    subprocess.run([sys.executable, "-W", "ignore", program, folder, str(CHAINED), *map(str, loops)], check=True)
    home = folder / "home"
    print(f"{'':12} contestant    wall s    cpu s  peak MB")
    kept: dict[tuple[str, str], Measured] = {}
    for name in ("import", "one", "chain", *(f"loop-{count}" for count in loops)):
        spec = str(folder / f"{name}.yaml")
        commands: dict[str, Sequence[str]] = {
            "ours": [*OURS, "run", spec, "--no-cache"],
            "kfp.local": [sys.executable, "-W", "ignore", "-c", KFP_LOCAL, spec, str(folder / "root")],
        }
        if count_of(name) > kfp_up_to:
            del commands["kfp.local"]
        if name == "import":
            commands = {"ours": [sys.executable, "-c", "import trainwright; trainwright.run"]}
        measured: dict[str, list[Measured]] = {contestant: [] for contestant in commands}
        for _ in range(rounds if count_of(name) <= 100 else max(1, rounds // 3)):
            for contestant, command in commands.items():
                measured[contestant].append(measure(command, home))
                shutil.rmtree(folder / "root", ignore_errors=True)
        for contestant, each in measured.items():
            kept[name, contestant] = found = medians(each)
            print(f"{name:12} {contestant:10} {found.wall_s:9.2f} {found.cpu_s:8.2f} {found.peak_mb:8.0f}", flush=True)
    tell(kept, loops)


def count_of(name: str) -> int:
    """The iterations of a spec."""
    found = re.fullmatch(r"loop-(\d+)", name)
    return int(found[1]) if found else 1


def tell(kept: Mapping[tuple[str, str], Measured], loops: Sequence[int]) -> None:
    """Print what follows from the first table."""
    one, chain = kept["one", "ours"], kept["chain", "ours"]
    print(f"\na run of one step beyond its imports   {one.wall_s - kept['import', 'ours'].wall_s:6.2f} s")
    print(f"a step after the first                 {1000 * (chain.wall_s - one.wall_s) / (CHAINED - 1):6.0f} ms")
    for name in ("one", "chain", *(f"loop-{count}" for count in loops)):
        if (name, "kfp.local") not in kept:
            continue
        ours, other = kept[name, "ours"], kept[name, "kfp.local"]
        wall, cpu = ours.wall_s / other.wall_s, ours.cpu_s / other.cpu_s
        print(f"{name:10} relative to kfp.local         {wall:6.2f}, by processor time {cpu:.2f}")
    for few, many in itertools.pairwise(loops):
        time_ratio = kept[f"loop-{many}", "ours"].wall_s / kept[f"loop-{few}", "ours"].wall_s
        grown = kept[f"loop-{many}", "ours"].peak_mb - kept[f"loop-{few}", "ours"].peak_mb
        print(f"loop-{many} relative to loop-{few} {time_ratio:15.1f} for {many / few:g} x the steps, {grown:+.0f} MB")


def store_copies(home: Path, count: int) -> None:
    """Fill a home with copies of its only run, each older than the one before."""
    with sqlite3.connect(home / "store.db") as store:
        store.row_factory = sqlite3.Row
        (run_id,) = [row["id"] for row in store.execute("SELECT id FROM runs")]
        tables = {
            table: [dict(row) for row in store.execute(f"SELECT * FROM {table}")]
            for table in ("runs", "tasks", "artifacts", "task_artifacts", "events", "cache")
        }
        for number in range(count):
            mark = f"{number:06d}"
            for table, rows in tables.items():
                copies = [copy_row(row, run_id=run_id, mark=mark) for row in rows]
                names = ", ".join(copies[0])
                store.executemany(
                    f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in copies[0])})", copies
                )
            (home / "runs" / f"{run_id}-{mark}").mkdir()


def copy_row(row: Mapping[str, object], *, run_id: str, mark: str) -> dict[str, object]:
    """A row of another run: ids carry a mark, and the numbers that the database gives are given anew."""
    copy: dict[str, object] = {}
    for name, value in row.items():
        if name == "sequence":
            continue
        if name in ("id", "run_id", "name") and value == run_id:
            copy[name] = f"{run_id}-{mark}"
        elif isinstance(value, str) and name in ("id", "task_id", "artifact_id", "producer_task_id", "key"):
            copy[name] = f"{mark}{value[len(mark) :]}"
        elif name == "created" and isinstance(value, str):
            copy[name] = (
                f"2020-01-01 {int(mark) // 3600 % 24:02d}:{int(mark) // 60 % 60:02d}:{int(mark) % 60:02d}.000000"
            )
        else:
            copy[name] = value.replace(run_id, f"{run_id}-{mark}") if isinstance(value, str) else value
    return copy


def compare_homes(folder: Path, stored: int, pairs: int) -> None:
    """Print the second table."""
    run = [*OURS, "run", str(folder / "stored.yaml")]
    homes = {"few runs": folder / "few", f"{stored:,} runs": folder / "many"}
    for home in homes.values():
        measure(run, home)
    store_copies(folder / "many", stored)
    commands: dict[str, Sequence[str]] = {
        "run": [*OURS, "run", str(folder / "one.yaml"), "--no-cache"],
        "run, reusing": run,
        "runs list": [*OURS, "runs", "list"],
        "runs show": [*OURS, "runs", "show"],
        "runs resume": [*OURS, "runs", "resume"],
    }
    print(f"\n{'':14}" + "".join(f"{name:>14}" for name in homes) + "   ratio of pairs")
    for name, command in commands.items():
        measured: dict[str, list[float]] = {home: [] for home in homes}
        for pair in range(pairs):
            for which in sorted(homes, reverse=bool(pair % 2)):
                begin = time.perf_counter()
                try:
                    measured[which].append(measure(command, homes[which]).wall_s)
                except RuntimeError:  # there is nothing to resume, which it has to find out
                    measured[which].append(time.perf_counter() - begin)
        few, many = measured.values()
        ratio = statistics.median(b / a for a, b in zip(few, many, strict=True))
        print(f"{name:14}{statistics.median(few):13.2f} s{statistics.median(many):12.2f} s{ratio:15.3f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", default="50,1000", help="iterations of a ParallelFor; of many fewer rounds are made")
    parser.add_argument("--kfp-up-to", type=int, default=200, help="iterations that kfp.local is asked for as well")
    parser.add_argument("--stored", type=int, default=10_000, help="runs in the fuller home")
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory(prefix="engine-benchmark-") as folder:
        loops = [*map(int, filter(None, options.loops.split(",")))]
        compare(Path(folder), options.rounds, loops, options.kfp_up_to)
        if options.stored:
            compare_homes(Path(folder), options.stored, options.pairs)


if __name__ == "__main__":
    main()
