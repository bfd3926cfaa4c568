"""A step that returns its secret is warned of it."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from trainwright_pipelines.engine import runs
from trainwright_pipelines.engine.records import Artifact, Values
from trainwright_pipelines.engine.secret_outputs import _CHUNK_BYTES, SEARCHED_BYTES, disclosed
from trainwright_pipelines.engine.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = "s3cret/of 'mine'"


def warned(*secrets: str, **parameters: Any) -> bool:
    return bool(list(disclosed(Values(parameters=parameters), secrets)))


def warned_of(path: Path, *secrets: str, **artifact: Any) -> bool:
    found = Artifact(id="1", name="a", type="t", uri=str(path), created=datetime.now(UTC), **artifact)
    return bool(list(disclosed(Values(artifacts={"a": (found,)}), secrets)))


@pytest.mark.parametrize(
    ("value", "is_told"),
    [
        (TOKEN, True),
        ([1, {"a": f"x{TOKEN}y"}], True),
        ({TOKEN: 1}, True),
        (base64.b64encode(TOKEN.encode()).decode(), True),
        (TOKEN[:-1], False),
        ("", False),
        (None, False),
    ],
)
def test_a_parameter_is_searched_through(value: object, is_told: bool) -> None:
    assert warned("another one", TOKEN, out=value) is is_told
    assert not warned(out=value)


def test_a_number_and_a_short_value_are_told_of_parameters_and_not_of_files(tmp_path: Path) -> None:
    assert warned("424242", out=424242)
    assert not warned("abc", out="abc")
    (tmp_path / "file").write_text("424242")
    assert not warned_of(tmp_path / "file", "424242"), "so few letters stand in large files by chance"


def test_an_artifact_is_searched_in_its_files_metadata_and_address(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    assert not warned_of(clean, TOKEN, metadata={"a": 1})
    assert not warned_of(tmp_path / "not there", TOKEN)
    assert warned_of(clean, TOKEN, metadata={"a": [TOKEN]})
    assert warned_of(tmp_path / TOKEN.replace("/", " "), TOKEN.replace("/", " "))
    (clean / "folder").mkdir()
    (clean / "folder" / ".hidden").write_text(f"x {TOKEN}")
    assert warned_of(clean, TOKEN)


@pytest.mark.parametrize(
    ("before", "is_told"),
    [(_CHUNK_BYTES - 3, True), (2 * _CHUNK_BYTES, True), (SEARCHED_BYTES + 1, False)],
)
def test_a_large_file_is_searched_across_chunks_up_to_a_limit(tmp_path: Path, before: int, is_told: bool) -> None:
    file = tmp_path / "file"
    with file.open("wb") as stream:
        stream.seek(before)
        stream.write(TOKEN.encode())
    assert warned_of(file, TOKEN) is is_told


def test_a_file_that_cannot_be_read_is_told_and_fails_nothing(tmp_path: Path) -> None:
    """A link that even root cannot read from, since address 0 holds nothing."""
    (tmp_path / ".hidden").symlink_to("/proc/self/mem")
    found = Artifact(id="1", name="a", type="t", uri=str(tmp_path), created=datetime.now(UTC))
    told = list(disclosed(Values(artifacts={"a": (found,)}), [TOKEN]))
    assert len(told) == 1
    assert told[0].startswith("its output 'a' cannot be searched for values of secrets: ")
    assert not list(disclosed(Values(artifacts={"a": (found,)}), ["short"])), "no file is opened in vain"


def test_a_run_warns_once_with_the_step_and_the_output(specs: Path, store: Store) -> None:
    given = {"secretAsEnv": [{"secretName": "k", "keyToEnv": [{"secretKey": "a", "envVar": "TOKEN"}]}]}
    executors: Mapping[str, object] = {"exec-return-token": given}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    text = (specs / "returns_a_secret.yaml").read_text() + "\n---\n" + yaml.safe_dump(platform)
    (store.home / "secrets.yaml").write_text(yaml.safe_dump({"secrets": {"k": {"a": TOKEN}}}))
    (store.home / "secrets.yaml").chmod(0o600)
    messages = []

    def listen(event: Any) -> None:
        if event.is_warning:
            messages.append((event.task.path, event.message))

    run = runs.execute(runs.create_run(text, {}, store=store).id, store=store, listener=listen)
    told = store.task(run.id, "return-token").warnings
    assert messages == [("return-token", each) for each in told]
    assert [each.partition(".")[0] for each in told] == [
        "its output 'Output' holds a value of a secret that the step is given",
        "its output 'file' holds a value of a secret that the step is given",
    ]
    assert TOKEN not in "".join(told)
