"""Kill an engine process at each of its commits, renames and unlinks, then resume the run and compare.

    python -m tests.campaigns.kills [--kinds commit,rename] [--every 5] [--first 1] [--shared] [--twice]

The run has a step that fails at first, a loop, a step whose results are in the cache, two conditions and an exit task.
The process gets SIGKILL when it is about to make its k-th commit, rename or unlink, and in another run right after it,
for every k. After that nothing on record may be false: a step that is said to have succeeded has done its work, and the
run is not said to go on. After `runs resume` every output has the bytes of a run that nobody disturbed, and no step is
repeated that was on record as done. Prints what is not so, and the counts; ends with 1 if something was wrong.
--shared: steps of all runs are forked from one process, which is quicker. --twice: the process that resumes the run is
killed as well, at a third of the moment's number, and the run is resumed once more.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from tests.campaigns.os_errors import CommandServer, compile_specs, make_parser, prepare_to_serve
from tests.os_faults import KILLS, KillMoment, Kills

MARKS = "MARKS"
FINAL = ("SUCCEEDED", "SKIPPED")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: `code` is minus the signal's number for one that was killed."""

    code: int
    out: str
    err: str


class KillServer(CommandServer):
    """A process that forks one for each command of trainwright, and has it killed at a chosen moment."""

    module: ClassVar[str] = "tests.campaigns.kills"

    def _make_faults(self, connection: socket.socket) -> Kills:
        self.kills = Kills(connection)
        return self.kills

    def run(self, home: Path, *arguments: str, moment: KillMoment | None = None) -> Ended:
        """Run one command with `home`, in a process that is killed at `moment`."""
        self._tell({"home": str(home), "arguments": arguments})
        process = json.loads(self._lines.readline())["process"]
        self.kills.aim(process, home, moment)
        self._tell({})
        ended = json.loads(self._lines.readline())
        self.kills.disarm()
        return Ended(**ended)

    def _tell(self, what: dict[str, Any]) -> None:
        self._connection.sendall(json.dumps(what).encode() + b"\n")


def serve(descriptor: int, *, shares_parent: bool) -> None:
    """Be the other side of a `KillServer`, until it closes the connection."""
    connection = prepare_to_serve(descriptor, shares_parent=shares_parent)
    lines = connection.makefile("r")
    for line in lines:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            go, may_go = os.pipe()
            process = os.fork()
            if process == 0:
                os.close(may_go)
                os.read(go, 1)
                _become(asked, out.fileno(), err.fileno())
            connection.sendall(json.dumps({"process": process}).encode() + b"\n")
            lines.readline()
            os.close(may_go)
            os.close(go)
            _, status = os.waitpid(process, 0)
            said = {name: _content(file.fileno()) for name, file in (("out", out), ("err", err))}
        answer = {"code": os.waitstatus_to_exitcode(status), **said}
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _become(asked: dict[str, Any], out: int, err: int) -> None:
    from trainwright_pipelines.cli.main import run_command

    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ |= {"TRAINWRIGHT_HOME": asked["home"], MARKS: str(Path(asked["home"]).with_suffix(".marks"))}
    code = 1
    try:
        code = run_command(asked["arguments"])
        sys.stdout.flush()
    finally:
        os._exit(code)


def _content(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, 1 << 24).decode(errors="replace")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the store and the disk hold of the newest run."""

    state: str
    done: dict[str, str]
    """Steps that are on record as done by a process of theirs, by path, and the mark that each leaves."""
    outputs: dict[str, Any]
    """Of each step its state, parameters, and the bytes of its artifacts."""


def read_record(home: Path) -> Record | None:
    """The newest run as SQLite has it, None if there is none; as any reader that the engine knows nothing of."""
    query = "SELECT id, state FROM runs WHERE pipeline = 'killed' ORDER BY created DESC"
    with contextlib.closing(sqlite3.connect(home / "store.db")) as database:
        found = database.execute(query).fetchone()
        return _record(database, *found) if found else None


def _record(database: sqlite3.Connection, run: str, state: str) -> Record:
    query = "SELECT id, path, kind, state, is_cached, inputs, outputs FROM tasks WHERE run_id = ?"
    rows = database.execute(query, (run,)).fetchall()
    links = database.execute(
        "SELECT task_id, slot, uri FROM task_artifacts JOIN artifacts ON artifact_id = artifacts.id "
        "WHERE side = 'outputs' ORDER BY slot, position"
    ).fetchall()
    outputs = {
        path: {
            "state": state,
            "parameters": json.loads(given)["parameters"],
            "artifacts": [(slot, Path(uri).read_bytes()) for owner, slot, uri in links if owner == task],
        }
        for task, path, _, state, _, _, given in rows
    }
    done = {
        path: json.loads(taken)["parameters"].get("name", "")
        for _, path, kind, state, is_cached, taken, _ in rows
        if (kind, state, is_cached) == ("python", "SUCCEEDED", 0)
    }
    return Record(state=state, done={path: mark for path, mark in done.items() if mark}, outputs=outputs)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one moment; `wrong` lists what should not be."""

    moment: KillMoment
    outcome: str
    struck: str = ""
    was_done: int = 0
    """Steps that were on record as done when the process was killed."""
    repeated: int = 0
    """Steps that had done their work, and did it again, since nothing on record said so."""
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A run that is killed again and again, each time in a copy of the same home."""

    server: KillServer
    spec: Path
    folder: Path
    kills_twice: bool = False

    def prepare(self, remembered: Path) -> tuple[Record, Counter[str]]:
        """Make the home with the cached step; the record of an undisturbed run, and how many moments of each kind."""
        ended = self.server.run(self.folder / "home", "run", str(remembered), "--json")
        if ended.code:
            raise RuntimeError(f"the step to be cached fails: {ended}")
        home = self._copy("undisturbed")
        ended = self.server.run(home, "run", str(self.spec), "--json")
        record = read_record(home)
        if ended.code or record is None:
            raise RuntimeError(f"the run fails undisturbed: {ended}")
        return record, Counter(self.server.kills.counts)

    def judge(self, moment: KillMoment, undisturbed: Record) -> Verdict:
        """Run, be killed, look, resume, compare."""
        home = self._copy(f"{moment.kind}-{moment.number}-{'after' if moment.is_after else 'before'}")
        try:
            first = self.server.run(home, "run", str(self.spec), "--json", moment=moment)
            if first.code != -signal.SIGKILL:
                return Verdict(moment=moment, outcome=f"not reached, exit code {first.code}")
            struck, before, marks = self.server.kills.struck, read_record(home), _marks(home)
            if before is None:
                new = self._checks_of_new_run(home, undisturbed)
                return Verdict(moment=moment, outcome="before the run is on record", struck=struck, wrong=tuple(new))
            wrong = list(self._false_states(home, before, marks))
            if self.kills_twice and before.state != "SUCCEEDED":
                again = replace(moment, number=max(1, moment.number // 3))
                self.server.run(home, "runs", "resume", "latest", "--json", moment=again)
                before, marks = read_record(home) or before, _marks(home)
                wrong += self._false_states(home, before, marks)
            wrong += self._resume(home, before, marks, undisturbed)
            repeated = _marks(home).total() - _marks(self.folder / "undisturbed").total()
            outcome = f"the run is {before.state}"
            return Verdict(
                moment=moment,
                outcome=outcome,
                struck=struck,
                was_done=len(before.done),
                repeated=max(0, repeated),
                wrong=tuple(wrong),
            )
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _copy(self, name: str) -> Path:
        shutil.copytree(self.folder / "home", self.folder / name)
        return self.folder / name

    def _checks_of_new_run(self, home: Path, undisturbed: Record) -> Iterator[str]:
        again = self.server.run(home, "run", str(self.spec), "--json")
        yield from _differences(home, again, undisturbed)

    def _false_states(self, home: Path, before: Record, marks: Counter[str]) -> Iterator[str]:
        for path, mark in before.done.items():
            if not marks[mark]:
                yield f"{path} is on record as done, but has not done its work"
        listed = self.server.run(home, "runs", "list", "--json")
        if listed.code:
            yield f"runs list fails after it: {listed.err}"
            return
        [state] = [each["live_state"] for each in json.loads(listed.out) if each["pipeline"] == "killed"]
        unfinished = [path for path, each in before.outputs.items() if each["state"] not in FINAL]
        if before.state == "SUCCEEDED" and unfinished:
            yield f"the run is on record as succeeded, but not {unfinished}"
        expected = {"RUNNING": "INTERRUPTED"}.get(before.state, before.state)
        if state != expected:
            yield f"the run is on record as {before.state} and listed as {state}"

    def _resume(self, home: Path, before: Record, marks: Counter[str], undisturbed: Record) -> Iterator[str]:
        if before.state != "SUCCEEDED":
            resumed = self.server.run(home, "runs", "resume", "latest", "--json")
            yield from _differences(home, resumed, undisturbed)
        after = _marks(home)
        for path, mark in before.done.items():
            if after[mark] > marks[mark]:
                yield f"{path} was on record as done and is done again"
        shown = self.server.run(home, "runs", "show", "latest", "--json")
        if shown.code:
            yield f"runs show fails: {shown.err}"


def _differences(home: Path, ended: Ended, undisturbed: Record) -> Iterator[str]:
    if ended.code:
        yield f"exit code {ended.code}: {ended.err[-800:]}"
        return
    record = read_record(home)
    if record is None or record.state != "SUCCEEDED":
        yield f"the run is {record and record.state}"
        return
    for path in record.outputs.keys() | undisturbed.outputs.keys():
        if record.outputs.get(path) != undisturbed.outputs.get(path):
            yield f"{path} gave {record.outputs.get(path)}, undisturbed {undisturbed.outputs.get(path)}"


def _marks(home: Path) -> Counter[str]:
    file = home.with_suffix(".marks")
    return Counter(file.read_text().split()) if file.exists() else Counter()


def main() -> int:
    """Go through all moments; 1 if something was wrong."""
    parser = make_parser(KILLS)
    parser.add_argument("--twice", action="store_true")
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, shares_parent=options.shared)
        return 0
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        compile_specs(folder)
        with KillServer(shares_parent=options.shared, temporary=folder) as server:
            campaign = Campaign(server=server, spec=folder / "killed.yaml", folder=folder, kills_twice=options.twice)
            undisturbed, counts = campaign.prepare(folder / "remembered.yaml")
            print("calls of a run:", dict(counts), flush=True)
            moments = [
                KillMoment(kind=kind, number=number, is_after=is_after)
                for kind in options.kinds.split(",")
                for number in range(options.first, counts[kind] + 1, options.every)
                for is_after in (False, True)
            ]
            for moment in moments:
                verdict = campaign.judge(moment, undisturbed)
                verdicts.append(verdict)
                if verdict.wrong:
                    print(f"\n{moment}\n  {verdict.struck}", *verdict.wrong, sep="\n  ", flush=True)
    _print_table(verdicts)
    return int(any(verdict.wrong for verdict in verdicts))


def _print_table(verdicts: list[Verdict]) -> None:
    header = ("killed at", "moments", "killed", "on record as done", "of those repeated", "lost and repeated", "wrong")
    print("\n|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for kind in dict.fromkeys(each.moment.kind for each in verdicts):
        of = [each for each in verdicts if each.moment.kind == kind]
        killed = sum(bool(each.struck) for each in of)
        again = sum("done again" in wrong for each in of for wrong in each.wrong)
        numbers = [sum(each.was_done for each in of), again, sum(each.repeated for each in of)]
        print(
            f"| {kind} | {len(of)} | {killed} |",
            " | ".join(map(str, numbers)),
            f"| {sum(bool(each.wrong) for each in of)} |",
        )
    for outcome, count in Counter(each.outcome for each in verdicts).most_common():
        print(f"{count} times {outcome}")


if __name__ == "__main__":
    sys.exit(main())
