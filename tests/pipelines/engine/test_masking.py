"""Values of secrets are in no log, record or page."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest
import yaml

from trainwright_pipelines.cli.outcome import print_outcome
from trainwright_pipelines.cli.output import json_text
from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.masking import Mask, MaskedLog, told_by
from trainwright_pipelines.engine.platform_settings import LocalSecrets, secret_variable
from trainwright_pipelines.engine.records import RunSettings, State
from trainwright_pipelines.engine.replay import rerun_step
from trainwright_pipelines.engine.store import Store
from trainwright_pipelines.service.pages.run_page import write_run_page
from trainwright_pipelines.views.run_document import run_document

if TYPE_CHECKING:
    from tests.pipelines.engine.conftest import Fifo

TOKEN = 'p@ss/wörd "9"+&x'
LINES = [base64.b64encode(os.urandom(48)).decode() for _ in range(3)]
KEY = "\n".join(["-----BEGIN KEY-----", *LINES, "-----END-----", ""])


@pytest.mark.parametrize(
    "told",
    [
        TOKEN,
        f"https://me:{quote_plus(TOKEN)}@host/",
        json.dumps({"password": TOKEN}),
        json.dumps({"password": TOKEN}, ensure_ascii=False),
        repr([TOKEN + "'"]),
        *(base64.b64encode(f"{'u' * count}:{TOKEN}".encode()).decode() for count in range(3)),
        base64.urlsafe_b64encode(f"{TOKEN}\n".encode()).decode(),
    ],
)
def test_a_value_is_hidden_however_a_program_writes_it(told: str) -> None:
    shown = Mask([TOKEN]).text(f"before {told} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    for form in (TOKEN, quote_plus(TOKEN), base64.b64encode(TOKEN.encode()).decode()[4:-6], "p@ss", "wör", "9"):
        assert form not in shown


def test_a_key_of_several_lines_is_hidden_line_by_line_and_in_wrapped_base64() -> None:
    mask = Mask([KEY])
    assert mask.text(KEY) == "***\n" * 5
    wrapped = subprocess.run(["base64"], input=KEY.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()
    assert all(len(line) <= 8 for line in mask.text(wrapped).splitlines())


@pytest.mark.parametrize(
    ("value", "is_hidden"), [("", False), ("abc", False), ("abcd", True), ("a\nb\nc", True), ("      ", False)]
)
def test_a_value_of_three_letters_hides_nothing(value: str, is_hidden: bool) -> None:
    text = json.dumps(["abcdef", value])
    assert ("***" in Mask([value]).text(text)) == is_hidden
    assert bool(Mask([value])) == is_hidden


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_log_is_masked_across_the_borders_of_what_is_written(tmp_path: Path, size: int) -> None:
    secret = TOKEN.encode()
    line = b"x" * (1 << 19) if size > 7 else b"x"
    content = b"a " + secret + b" b\r" + line + secret + line + secret + line + secret
    log = MaskedLog(tmp_path / "log", tmp_path / "pipe", Mask([TOKEN]))
    log.open()
    with log.pipe.open("wb", buffering=0) as pipe:
        for start in range(0, len(content), size):
            pipe.write(content[start : start + size])
    log.close()
    assert (tmp_path / "log").read_bytes() == content.replace(secret, b"***")
    assert not log.pipe.exists()


def test_a_log_that_cannot_be_written_holds_up_nobody(tmp_path: Path) -> None:
    log = MaskedLog(Path("/dev/full"), tmp_path / "pipe", Mask([TOKEN]))
    log.open()
    with log.pipe.open("wb", buffering=0) as pipe:
        for _ in range(100):
            pipe.write(b"row\n" * 1000)
    with pytest.raises(OSError, match="No space left"):
        log.close()


def test_a_step_is_told_what_it_may_not_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("in a file")
    told = {**told_by(["A"], [tmp_path]), "A": "in a variable", "B": "for all"}
    assert Mask.of_environment(told).text("in a file, in a variable, for all") == "***, ***, for all"
    assert told_by([], []) == {}
    assert not Mask.of_environment({"A": "x"})


def test_a_secret_is_taken_from_the_file_and_then_from_the_environment(tmp_path: Path) -> None:
    variable = secret_variable("my-login", "api.token")
    assert variable == "TRAINWRIGHT_SECRET_MY_LOGIN_API_TOKEN"
    local = LocalSecrets.load(tmp_path, {variable: "of the environment", "OTHER": "x"})
    assert local.lookup("secrets", "my-login", step="s", key="api.token") == {"api.token": "of the environment"}
    (tmp_path / "secrets.yaml").write_text("secrets: {my-login: {api.token: of the file}}")
    (tmp_path / "secrets.yaml").chmod(0o600)
    local = LocalSecrets.load(tmp_path, {variable: "of the environment"})
    assert local.lookup("secrets", "my-login", step="s", key="api.token") == {"api.token": "of the file"}
    assert local.exposure == ""
    (tmp_path / "secrets.yaml").chmod(0o640)
    assert local.exposure.endswith(f"(mode 640): chmod 600 {tmp_path}/secrets.yaml")


def leaking(specs: Path) -> str:
    secret = {"secretName": "login"}
    config = {
        "secretAsEnv": [{**secret, "keyToEnv": [{"secretKey": "token", "envVar": "TOKEN"}]}],
        "secretAsVolume": [{**secret, "mountPath": "/keys"}],
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-leak": config}}}}}
    return (specs / "leaking.yaml").read_text() + "\n---\n" + yaml.safe_dump(platform)


def holders(home: Path) -> list[str]:
    """The files of a home that hold the token in some form."""
    mask = Mask([TOKEN])
    files = {each: each.read_bytes() for each in home.rglob("*") if each.is_file()}
    return sorted(each.name for each, content in files.items() if mask.content(content) != content)


def test_what_a_step_tells_of_a_secret_is_stored_nowhere(
    specs: Path,
    store: Store,
    fifo: Fifo,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (store.home / "secrets.yaml").write_text(json.dumps({"secrets": {"login": {"token": TOKEN}}}))
    monkeypatch.setenv(secret_variable("other", "token"), "of another step")
    run = runs.create_run(leaking(specs), {"fifo": str(fifo.path)}, store=store)
    executing = threading.Thread(target=runs.execute, args=(run.id,), kwargs={"store": store})
    executing.start()
    fifo.wait()
    assert holders(store.home) == ["secrets.yaml"], "also while the step runs, or after it was killed"
    memory = Path(fifo.path.with_name("mounted").read_text())
    assert (memory.stat().st_mode & 0o777, memory.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    fifo.let_go()
    executing.join()
    assert not memory.parent.exists()
    run, tasks = store.run(run.id), store.tasks(run.id)
    leak = store.task(run.id, "leak")
    log = leak.log.read_text()
    assert run.state == State.FAILED
    assert holders(store.home) == ["secrets.yaml"]
    assert log.startswith("it is *** !\nit is *** !\nit is ")
    assert "and ***\nothers: [('TRAINWRIGHT_SECRET_OTHER_TOKEN', '')]\n" in log
    assert leak.error == "ValueError: the server does not take ***"
    assert leak.warnings == ("never tell ***",)
    assert run.warnings[0].endswith(f"chmod 600 {store.home}/secrets.yaml")
    assert "does not take ***" in store.task(run.id, "show-status").outputs.parameters["Output"]
    print_outcome(run, tasks, write_run_page(store, run.id))
    print(json_text(run_document(run, tasks, page=None, live_state="FAILED")))
    waiting = threading.Thread(target=lambda: (fifo.wait(), fifo.let_go()))
    waiting.start()
    rerun_step(run.id, "leak", store=store)
    waiting.join()
    assert holders(store.home) == ["secrets.yaml"]
    said = "".join(capfd.readouterr())
    assert said.count("does not take ***") > 3
    assert Mask([TOKEN]).text(said) == said


def test_a_secret_on_a_command_line_is_told(specs: Path, store: Store) -> None:
    (store.home / "secrets.yaml").write_text(json.dumps({"secrets": {"login": {"a": "first-1", "b": "second-2"}}}))
    document = yaml.safe_load((specs / "one_sleeper.yaml").read_text())
    [executor] = document["deploymentSpec"]["executors"].values()
    executor["container"] |= {"command": ["true"], "args": ["$$(A)", "x$(B)", "$(NO)"]}
    pairs = [{"secretKey": "a", "envVar": "A"}, {"secretKey": "b", "envVar": "B"}]
    config = {"secretAsEnv": [{"secretName": "login", "keyToEnv": pairs}]}
    executors = dict.fromkeys(document["deploymentSpec"]["executors"], config)
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    text = yaml.safe_dump_all([document, platform])
    run = runs.create_run(text, {}, store=store, settings=RunSettings(isolation={"": "process"}))
    assert runs.execute(run.id, store=store).state == State.SUCCEEDED
    [told] = [each for task in store.tasks(run.id) for each in task.warnings if "$(" in each]
    assert told.startswith(
        "its command names $(B), which puts that secret where every user of this machine can read it"
    )
