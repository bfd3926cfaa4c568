"""Make each call of a run that can fail, fail: open, write, rename, mkdir and SQLite's, with four errors.

    python -m tests.campaigns.os_errors [--kinds open,sqlite] [--errors ENOSPC] [--every 5] [--lasting] [--shared]

The run has two lightweight steps, one of which writes an artifact that the other reads. It has to end within 10 s of
the failure, with an exit code other than 0, or to succeed with the right output; no traceback is shown. Then, with
nothing failing, `runs list` has to work, `runs resume` to give the right output, and so has a new run, which may take
steps from the cache. Prints each moment that is not so, and a table in Markdown of what came of all; ends with 1 if
something was wrong. --lasting: all calls that write fail from that one on, until the run has ended. --shared: steps
of all runs are forked from one process, which is quicker.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.os_faults import ERRNOS, KINDS, Faults, Moment, hand_over

ROOT = Path(__file__).parents[2]
TINY = "tests.pipelines.engine.tiny_pipelines"
ENDS_WITHIN_S = 10.0
WITHOUT_FAULT_S = 60.0
TEXT = "data!"


class Hangs(Exception):
    """The command did not end in time."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command left."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one moment; `wrong` lists what should not be."""

    moment: Moment
    outcome: str
    struck: str = ""
    said: str = ""
    wrong: tuple[str, ...] = ()


class CommandServer:
    """A process that runs commands of trainwright, and whose calls can be made to fail."""

    module: ClassVar[str] = "tests.campaigns.os_errors"
    """What the process is: called with `--serve DESCRIPTOR`, and `--shared`."""

    def __init__(self, *, shares_parent: bool, temporary: Path) -> None:
        ours, theirs = socket.socketpair()
        arguments = ["--serve", str(theirs.fileno()), *(["--shared"] if shares_parent else [])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, *arguments],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        theirs.close()
        self._connection = ours
        self.faults = self._make_faults(ours)
        self._lines = ours.makefile("r")

    def _make_faults(self, connection: socket.socket) -> Faults:
        return Faults(connection)

    def call(self, home: Path, *arguments: str) -> Answer:
        """Run one command with `home`.

        Raises:
            Hangs: It takes longer than it may.
        """
        self._connection.sendall(json.dumps({"home": str(home), "arguments": arguments}).encode() + b"\n")
        received: list[str] = []
        reader = threading.Thread(target=lambda: received.append(self._lines.readline()), daemon=True)
        reader.start()
        waited_s = 0.0
        while reader.is_alive():
            reader.join(0.5)
            waited_s += 0.5
            limit_s = WITHOUT_FAULT_S if self.faults.struck_at is None else ENDS_WITHIN_S
            if reader.is_alive() and waited_s >= limit_s:
                raise Hangs(f"{' '.join(arguments[:2])} has not ended after {limit_s:g} s")
        return Answer(**json.loads(received[0]))

    def close(self) -> None:
        """End it, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._lines.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(descriptor: int, *, shares_parent: bool) -> None:
    """Be the other side of a `CommandServer`, until it closes the connection."""
    connection = prepare_to_serve(descriptor, shares_parent=shares_parent)
    from trainwright_pipelines.cli.main import run_command

    for line in connection.makefile("r"):
        asked = json.loads(line)
        os.environ["TRAINWRIGHT_HOME"] = asked["home"]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = run_command(asked["arguments"])
        answer = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
        connection.sendall(json.dumps(answer).encode() + b"\n")


def prepare_to_serve(descriptor: int, *, shares_parent: bool) -> socket.socket:
    """Import what commands need, not below a fault, and hand over the calls; the connection to the other side."""
    from trainwright_components.processes.warm_parent import WarmParent
    from trainwright_pipelines.cli import local_run, outcome, runs  # noqa: F401  loaded now, not below a fault
    from trainwright_pipelines.engine import cache, provenance

    connection = socket.socket(fileno=descriptor)
    hand_over(connection)
    if shares_parent:
        shared = WarmParent.start(("kfp.dsl.executor_main", "trainwright_pipelines.engine.task_entry"))
        shared.close = lambda: None  # type: ignore[method-assign]
        WarmParent.start = lambda _preload=(): shared  # type: ignore[assignment,method-assign]
        # What is installed stays the same, and lies outside of the home.
        cache._components_code = functools.cache(cache._components_code)
        provenance._packages = functools.cache(provenance._packages)
    return connection


def count_calls(server: CommandServer, spec: Path, home: Path) -> Counter[str]:
    """How many calls of each kind a run without a fault makes."""
    server.faults.arm(home, None)
    done = server.call(home, "run", str(spec), "--set", f"text={TEXT}", "--json")
    counts = Counter(server.faults.counts)
    server.faults.disarm()
    if done.code or _output(done) != TEXT:
        raise RuntimeError(f"the run fails without a fault: {done}")
    return counts


def judge(server: CommandServer, spec: Path, home: Path, moment: Moment, *, is_brief: bool = False) -> Verdict:
    """Run with a fault, then see whether all is well without one; in brief, no new run after one that was resumed."""
    run = ("run", str(spec), "--set", f"text={TEXT}", "--json")
    server.faults.arm(home, moment)
    try:
        first = server.call(home, *run)
    except Hangs as hangs:
        return Verdict(moment=moment, outcome="hangs", struck=server.faults.struck, wrong=(str(hangs),))
    finally:
        server.faults.disarm()
    if server.faults.struck_at is None:
        return Verdict(moment=moment, outcome="not reached")
    wrong = list(_faults_of(first))
    try:
        wrong += _checks_after(server, home, run, is_brief=is_brief)
    except Hangs as hangs:
        wrong.append(f"afterwards {hangs}")
    outcome = "succeeded" if first.code == 0 else f"failed with {first.code}"
    return Verdict(moment=moment, outcome=outcome, struck=server.faults.struck, said=first.err, wrong=tuple(wrong))


def _faults_of(first: Answer) -> Iterator[str]:
    if first.code == 0 and _output(first) != TEXT:
        yield f"exit code 0, but the output is {_output(first)!r}"
    if first.code not in (0, 1, 2):
        yield f"exit code {first.code}: {first.err[-600:]}"
    if first.code and "error" not in first.err and "failed" not in first.err:
        yield f"fails without a word: {first.err!r}"
    if "internal error" in first.err or "Traceback" in first.err:
        yield f"shows what is inside: {first.err[-1500:]}"


def _checks_after(server: CommandServer, home: Path, run: tuple[str, ...], *, is_brief: bool) -> Iterator[str]:
    listed = server.call(home, "runs", "list", "--json")
    if listed.code:
        yield f"runs list fails after it: {listed.err}"
        return
    ended_ill = [each for each in json.loads(listed.out) if each["live_state"] != "SUCCEEDED"]
    for each in ended_ill:
        resumed = server.call(home, "runs", "resume", each["id"], "--json")
        if resumed.code or _output(resumed) != TEXT:
            yield f"resume of a run that is {each['live_state']} gives {_output(resumed)!r}: {resumed.err[-800:]}"
    if not (ended_ill and is_brief):
        again = server.call(home, *run)
        if again.code or _output(again) != TEXT:
            yield f"a new run gives {_output(again)!r}: {again.err[-800:]}"
    left = [each for each in home.rglob("*") if each.name.startswith((".partial", ".component", ".pipeline.yaml."))]
    if left:
        yield f"left behind: {', '.join(map(str, left))}"


def _output(answer: Answer) -> Any:
    """What the last step gave, where the artifact that the first one wrote holds the same."""
    try:
        put, get = json.loads(answer.out)["steps"]
        [written] = put["outputs"]["artifacts"]["out"]
        read = get["outputs"]["parameters"]["Output"]
    except (ValueError, KeyError):
        return None
    return read if Path(written["uri"]).read_text() == read else None


def compile_specs(folder: Path) -> None:
    """Compile the tiny pipelines, one YAML each."""
    subprocess.run([sys.executable, "-m", TINY, folder], check=True, cwd=ROOT)


def make_parser(kinds: Iterable[str]) -> argparse.ArgumentParser:
    """The options of a campaign over moments of these kinds, and of the process whose calls it watches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default=",".join(kinds))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--serve", type=int)
    return parser


def main() -> int:
    """Go through all moments; 1 if something was wrong."""
    parser = make_parser(KINDS)
    parser.add_argument("--errors", default=",".join(ERRNOS))
    parser.add_argument("--lasting", action="store_true")
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, shares_parent=options.shared)
        return 0
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    is_wrong = False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        compile_specs(folder)
        spec = folder / "handed_on.yaml"
        server = CommandServer(shares_parent=options.shared, temporary=folder)
        counts = count_calls(server, spec, folder / "counted")
        print("calls of a run:", dict(counts), flush=True)
        for kind in options.kinds.split(","):
            for name in options.errors.split(","):
                for number in range(options.first, counts[kind] + 1, options.every):
                    moment = Moment(kind=kind, errno_name=name, number=number, lasts=options.lasting)
                    home = folder / f"{kind}-{name}-{number}"
                    verdict = judge(server, spec, home, moment)
                    table[kind, name]["wrong" if verdict.wrong else verdict.outcome] += 1
                    if verdict.wrong:
                        is_wrong = True
                        print(f"\n{moment}\n  {verdict.struck}", *verdict.wrong, sep="\n  ", flush=True)
                    if any("has not ended" in each for each in verdict.wrong):
                        server.close()
                        server = CommandServer(shares_parent=options.shared, temporary=folder)
                    shutil.rmtree(home, ignore_errors=True)
        server.close()
    _print_table(table)
    return int(is_wrong)


def _print_table(table: dict[tuple[str, str], Counter[str]]) -> None:
    outcomes = sorted({each for row in table.values() for each in row})
    print("\n| call | error | moments |", " | ".join(outcomes), "|")
    print("| --- | --- |", " | ".join(["---"] * (len(outcomes) + 1)), "|")
    for (kind, name), row in table.items():
        print(f"| {kind} | {name} | {row.total()} |", " | ".join(str(row[each]) for each in outcomes), "|")


if __name__ == "__main__":
    sys.exit(main())
