"""An address such as gs:// never becomes a folder called `gs:`: what writes refuses it before it makes anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.deploy_serving.deploy import deploy_model
from trainwright_components.errors import InvalidSetting
from trainwright_components.files import check_local, whole_folder, write_whole
from trainwright_components.hyperparameter_tune.tune import tune_model
from trainwright_components.model_server.core.model_config import read_model_configs
from trainwright_components.model_server.flags import Flags
from trainwright_components.model_server.server import configuration_of
from trainwright_components.model_server.status import StatusError
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_components.prepare_data.settings import PrepareSettings
from trainwright_components.train_distributed.train import train_model

ADDRESS = "gs://bucket/folder"


def make_folder() -> None:
    with whole_folder(Path(ADDRESS)):
        pass


def deploy(home: str = "home", base_path: str | Path = "") -> None:
    deploy_model(Path("absent"), Path("absent"), model_name="m", home=Path(home), base_path=base_path)


def train(**paths: Any) -> None:
    train_model(Path("absent"), "absent.py", **{"output": Path("out"), **paths})


def tune(**paths: Any) -> None:
    tune_model("absent", "absent.py", **{"study_folder": "out", **paths})


WRITERS = {
    "write_whole": lambda: write_whole(Path(ADDRESS), "text"),
    "whole_folder": make_folder,
    "serving.base_path": lambda: deploy(base_path=ADDRESS),
    "serving.base_path as a Path": lambda: deploy(base_path=Path(ADDRESS)),
    "home": lambda: deploy(home=ADDRESS),
    "output": lambda: train(output=Path(ADDRESS)),
    "log_dir": lambda: train(log_dir=Path(ADDRESS)),
    "report": lambda: train(report=Path(ADDRESS)),
    "study_folder": lambda: tune(study_folder=ADDRESS),
    "model_folder": lambda: tune(model_folder=ADDRESS),
    "report of a study": lambda: tune(report=ADDRESS),
    "prepared dataset": lambda: prepare_data("iris", Path(ADDRESS), PrepareSettings()),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_an_address_is_refused_and_nothing_is_made(
    write: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSetting, match=f"must be a path on this machine, without a scheme; got {ADDRESS}"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["gs://b/x", "s3://b", "hdfs://host:9000/x", "file:///x", Path("gs://b/x")])
def test_every_scheme_is_an_address(address: str | Path) -> None:
    with pytest.raises(InvalidSetting, match="without a scheme"):
        check_local(address, name="it")


@pytest.mark.parametrize(
    "path", ["", "a/b", "/gcs/bucket/x", "~/x", "2026-01-01T10:00/x", "/data/gs:/x", Path("a:b/c")]
)
def test_paths_are_no_addresses(path: str | Path) -> None:
    check_local(path, name="it")


def test_the_model_server_does_not_look_for_an_address_in_its_working_folder() -> None:
    with pytest.raises(StatusError, match=f"{ADDRESS} of model m is a URI"):
        read_model_configs(configuration_of(Flags(model_name="m", model_base_path=ADDRESS)))
