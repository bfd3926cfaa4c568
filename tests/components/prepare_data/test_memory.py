"""Data larger than the memory that there is for it is prepared all the same: the kernel enforces the bound."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from trainwright_components.datasets.chunks import Chunk, SourceTraits
from trainwright_components.datasets.infer import Roles
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.prepare_data.splitting import RowFractions, choose_splitter

MB = 1 << 20

# A first, small run loads every library; from then on the process may take `bound` more bytes and not one more.
SCRIPT = """
import json, resource, sys
from pathlib import Path
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))

small, large, output, bound = sys.argv[1:]
prepare_data(small, Path(output), PrepareSettings(label="y"))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
before, limit = status("VmRSS"), status("VmData") + int(bound)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
prepared = prepare_data(large, Path(output), PrepareSettings(label="y"))
rows = sum(split.rows for split in prepared.statistics.splits.values())
print(json.dumps({"rows": rows, "peak_growth": status("VmHWM") - before}))
"""


def prepare_within(bound: int, small: Path, large: Path, output: Path) -> Mapping[str, int]:
    command = [sys.executable, "-c", SCRIPT, str(small), str(large), str(output), str(bound)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    result: dict[str, int] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_arrays_larger_than_the_bound(tmp_path: Path) -> None:
    bound, row_floats = 48 * MB, 32 * 1024
    random = np.random.default_rng(0)
    for name, rows in (("small", 20), ("large", 800)):
        x = random.random((rows, row_floats), np.float32)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(rows) % 2)
    assert (tmp_path / "large.npz").stat().st_size > 2 * bound
    result = prepare_within(bound, tmp_path / "small.npz", tmp_path / "large.npz", tmp_path / "dataset")
    assert result["rows"] == 800
    assert result["peak_growth"] < bound


def test_the_numbers_of_the_rows_are_held_once_though_two_ways_to_split_are_open() -> None:
    """8 bytes for each row of a small class, up to 1/8 more while an array grows, and 1 MB of counts and chunks."""
    rows, labels = 4_000, 60
    traits, settings = SourceTraits(name="rows", columns=("x", "y")), PrepareSettings(label="y")
    roles = Roles(label="y")
    tracemalloc.start()
    try:
        splitter = choose_splitter(settings, traits, roles, RowFractions(roles, seed=0))
        for block in range(labels):
            x, y = np.arange(block * rows, (block + 1) * rows), np.arange(rows) % labels
            splitter.observe(Chunk(columns={"x": x, "y": y}, origin="rows", first_row=block * rows + 1))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 8 * rows * labels * 1.125 + MB


@pytest.mark.slow
def test_a_table_larger_than_the_bound(tmp_path: Path) -> None:
    bound = 96 * MB
    random = np.random.default_rng(0)
    header = ",".join([*(f"x{number}" for number in range(12)), "note", "city", "y"]) + "\n"
    with (tmp_path / "large.csv").open("w") as large:
        large.write(header)
        for block in range(100):
            numbers, classes = random.normal(size=(5_000, 12)).tolist(), random.integers(0, 2, 5_000).tolist()
            for row, (values, label) in enumerate(zip(numbers, classes, strict=True)):
                note = f"visit {row} of block {block} {'z' * 50}"
                large.write(",".join([*map(repr, values), note, f"city {row % 500}", f"class {label}"]) + "\n")
    with (tmp_path / "large.csv").open() as large, (tmp_path / "small.csv").open("w") as small:
        small.writelines(line for line, _ in zip(large, range(20_001), strict=False))
    assert (tmp_path / "large.csv").stat().st_size > 1.5 * bound
    result = prepare_within(bound, tmp_path / "small.csv", tmp_path / "large.csv", tmp_path / "dataset")
    assert result["rows"] == 500_000
    assert result["peak_growth"] < bound
