"""What a person sees for bad input: one clear message, a suggestion where there is one, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainwright_components.cluster.spec import Member
from trainwright_components.cluster.tf_config import build_tf_config
from trainwright_components.model_server.operation.control import add_model
from trainwright_pipelines.cli import main as main_module


def _shown(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


BAD_LINES = [
    (["rnu"], "no command 'rnu'; did you mean 'run'?"),
    (["runs", "shwo"], "no command 'shwo'; did you mean 'show'?"),
    (["pipelines", "train_and_deplyo"], "no pipeline 'train_and_deplyo'; did you mean 'train_and_deploy'?"),
    (["components", "evalute"], "no component 'evalute'; did you mean 'evaluate'?"),
    (["compile", "absent.yaml"], "no file absent.yaml"),
    (["compile", "absent.py:f"], "no file absent.py"),
    (["compile", "train_and_deploy", "--target", "moon"], "'moon' is not one of 'local', 'kubeflow', 'vertex'"),
    (["compile", "train_and_deploy", "--outptu", "x"], "--output"),
    (["new", "p", "--label", "y"], "--label needs --source"),
    (["new", "p", "--set", "data.header=no"], "--set needs --source"),
    (["new", "p", "--source", "iris", "--set", "data.headr=no"], "did you mean 'header'"),
    (["new", "p", "--source", "iris", "--set", "header=no"], "it is data.header"),
    (["new", "p", "--source", __file__], "--source needs --label"),
    (["new", "p", "--source", "x.csv"], "no data at"),
    (["new", "p", "--source", "nowhere/"], "no data at"),
    (["new", "p", "--source", __file__, "--label", "y", "--keras", "x.keras"], "there is no model at x.keras"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=_shown)
def test_bad_input_is_told_in_one_message(trainwright: Callable[..., Any], line: list[str], message: str) -> None:
    outcome = trainwright(*line)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("command", ["run", "submit"])
def test_a_member_of_a_cluster_of_another_launcher_runs_no_pipeline(
    trainwright: Callable[..., Any], home: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two members would both run it; a spec for elsewhere can still be compiled there."""
    monkeypatch.setenv("TF_CONFIG", build_tf_config({"worker": ["h:1", "h:2"]}, Member(role="worker", index=1)))
    outcome = trainwright(command, "train_and_deploy", "--set", "serving.enabled=false")
    assert outcome.code == 2
    assert "TF_CONFIG makes this process worker-1 of a cluster (worker: 2)" in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(home.glob("runs/*"))
    assert trainwright("compile", "train_and_deploy", "-o", str(home / "spec.yaml")).code == 0


WRONG_LINES = [
    "run",
    "run nonsense",
    "run train_and_deploy --set source",
    "run train_and_deploy --target moon",
    "submit train_and_deploy --set epochs=3",
    "submit train_and_deploy --target kubeflow --option hots=x",
    "compile nonsense",
    "pipelines nonsense",
    "components nonsense",
    "new p --source absent.csv --label y",
    "new p --source wine --label absent",
    "runs show nonsense",
    "runs logs nonsense",
    "runs open nonsense",
    "runs resume nonsense",
    "runs rerun nonsense",
    "runs rerun --pdb",
    "runs cancel nonsense",
    "runs delete nonsense --yes",
    "serve start --rest-port 70000",
    "serve start --server other",
    "serve stop now",
    "predict m",
    "predict m {}",
    "predict m {bad --address localhost:1",
    "predict m --file absent.csv --address localhost:1",
    "doctor --fast",
    "devices --gpu",
]


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_wrong_command_or_setting_ends_with_2(trainwright: Callable[..., Any], line: str) -> None:
    outcome = trainwright(*line.split())
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_what_ran_and_failed_ends_with_1(trainwright: Callable[..., Any]) -> None:
    assert trainwright("predict", "m", "{}", "--address", "localhost:1").code == 1


def test_an_interrupted_command_ends_with_130(trainwright: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module.cli, "main", interrupt)
    assert trainwright("runs", "list").code == 130


def test_the_help_says_what_exit_codes_mean(trainwright: Callable[..., Any]) -> None:
    text = trainwright("--help").out
    assert text.index("Exit codes:") > text.index("Examples:")
    for code in (1, 2, 3, main_module.UNEXPECTED, main_module.INTERRUPTED):
        assert f"\n  {code}  " in text


@pytest.mark.parametrize("line", [[], ["runs"], ["serve"]], ids=_shown)
def test_a_command_of_commands_shows_its_help(trainwright: Callable[..., Any], line: list[str]) -> None:
    outcome = trainwright(*line)
    assert outcome.code == 2
    assert outcome.err.startswith("Usage: trainwright")


def test_a_file_that_cannot_be_written_is_told(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = trainwright("compile", "batch_score", "--output", str(tmp_path / "file" / "pipeline.yaml"))
    assert outcome.code == 2
    assert "cannot be written" in outcome.err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Files that are each wrong in one way."""
    contents = {
        "good.py": "DEFAULT_PARAMS = {'units': 8}\n\n\ndef build_model(context):\n    return None\n",
        "empty.py": "def biuld_model(context):\n    return None\n",
        "broken.py": "def build_model(context)\n    return None\n",
        "data.csv": "a,b\n1,2\n",
        "list.yaml": "- source\n- digits\n",
        "broken.yaml": "source: [digits\n",
        "other.yaml": "a: 1\n",
        "plain.py": "def nightly():\n    pass\n",
        "raises.py": "from kfp import dsl\n\nraise KeyError('from the user')\n\n@dsl.pipeline\ndef f():\n    pass\n",
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    return tmp_path


BAD_RUNS = [
    (["--set", "epochs=3"], "no parameter 'epochs': it is training.epochs, such as --set training.epochs=VALUE"),
    (["--set", "units=3"], "no parameter 'units'; an entry of a mapping is named with it: params.units"),
    (["--set", "modul=x.py"], "no parameter 'modul'; did you mean 'module'?"),
    (["--set", "quantization.enabled=perhaps"], "quantization.enabled must be true or false, got 'perhaps'"),
    (["--set", "data=[1]"], "parameter 'data' must be a mapping"),
    (["--set", "data.time_colum=t"], "there is no data setting 'time_colum'; did you mean 'time_column'?"),
    (["--set", "data.format=cvs"], "data.format 'cvs' is not known; did you mean 'csv'?"),
    (["--set", "data.kinds.age=catgorical"], "data.kinds: 'age' cannot be 'catgorical'; did you mean 'categorical'?"),
    (["--set", "data.label=y"], "there is no data setting 'label'; it is the parameter 'label'"),
    (["--set", "serving.enabld=false"], "there is no serving setting 'enabld'; did you mean 'enabled'?"),
    (["--set", "evaluation.champion_base_path=x"], "it is the parameter 'serving.base_path'"),
    (["--set", "data.test_source={project}/dta.csv"], "dta.csv; did you mean 'data.csv'?"),
    (["--set", "params=[1]"], "parameter 'params' must be a mapping"),
    (["--set", "training"], "--set takes NAME=VALUE, got 'training'"),
    (["--set", "training.epoch=3"], "there is no training setting 'epoch'; did you mean 'epochs'?"),
    (["--set", "training.epochs=0"], "training.epochs must be at least 1, got 0"),
    (["--set", "training.epochs=many"], "training.epochs must be an integer, got 'many'"),
    (["--set", "params.unit=3"], "digits.py has no parameter 'unit'; DEFAULT_PARAMS has: "),
    (["--set", "module=digit"], "no model module 'digit'"),
    (["--set", "module={project}/god.py"], "did you mean 'good.py'?"),
    (["--set", "module={project}/empty.py"], "has no build_model(context); did you mean 'biuld_model'?"),
    (["--set", "module={project}/broken.py"], "broken.py, line 1: expected ':'"),
    (["--set", "module={project}/folder"], "it has neither model.py nor __init__.py"),
    (["--set", "source={project}/dta.csv"], "dta.csv; did you mean 'data.csv'?"),
    (["--set", "model_name=my model"], "model_name must be 1 to 127 letters, digits"),
    (["--params", "{project}/absent.yaml"], "absent.yaml: No such file or directory"),
    (["--params", ""], "--params .: Is a directory"),
    (["--params", "{project}/list.yaml"], "must hold NAME: VALUE lines, got a list"),
    (["--params", "{project}/broken.yaml"], "is not valid YAML"),
    (["--option", "host=x"], "target local has no option 'host'"),
    (["--set", "params.units=many"], "params.units must be like its default 64, got 'many'"),
    (["--set", "cluster.workers=2"], "there is no cluster setting 'workers'; did you mean 'worker'?"),
    (["--isolation", "box"], "isolation is process or container, or STEP=process or container; got 'box'"),
    (["--isolation", "train=process"], "no step 'train' that runs something; did you mean 'train-distributed'?"),
    (["--isolation", "container"], "the image 'trainwright/cpu' of check-evaluation is a logical name"),
    (["--set", "cluster.launcher=moon"], "cluster.launcher must be one of local, docker; got 'moon'"),
    (["--set", "cluster.worker=two"], "cluster.worker must be an integer"),
    (["--set", "training.strategy=multi_worker_mirrored"], "multi_worker_mirrored needs a cluster"),
    (
        ["--set", "evaluation.thresholds.acuracy=0.9"],
        "no metric is called 'acuracy'; did you mean 'accuracy'?",
    ),
    (["--set", "evaluation.thresholds.recal.cat=0.9"], "no metric is called 'recal'"),
    (["--set", "evaluation.thresholds.accuracy=high"], "min of accuracy must be a number, got 'high'"),
    (
        ["--set", 'evaluation.thresholds={"accuracy": 0.9, "rmse": 3}'],
        "no model has all of accuracy, rmse",
    ),
    (
        ["--set", "data.task=regression", "--set", "evaluation.thresholds.accuracy=0.9"],
        "no metric is called 'accuracy'",
    ),
    (
        ["--set", "evaluation.thresholds.accuracy.min_in_slices=0.9"],
        "but evaluation.slices names no feature",
    ),
    (["--set", "evaluation.champion_tolerance=-1"], "evaluation.champion_tolerance must be at least 0, got -1"),
    (["--set", "data.task=clasification"], "got 'clasification'; did you mean 'classification'?"),
    (
        ["--set", "data.key_column=a", "--set", "data.time_column=b"],
        "data.time_column are different ways to split",
    ),
    (
        ["--set", "quantization.budget.max_size=1"],
        "did you mean 'max_size_bytes'?",
    ),
    (["--set", "quantization.budget.min_agreement=2"], "min_agreement is a share, at most 1"),
    (["--set", "quantization.modes=[int4]"], "quantization.modes: no mode is called 'int4'; did you mean 'int8'?"),
    (["--set", "serving.base_path={project}/data.csv/models"], "data.csv is not a folder"),
    (["--set", "serving.base_path=/proc/models"], "serving.base_path /proc/models cannot be written to"),
    (["--set", "source={project}/data.csv"], "give this project's model a name, --set model_name=NAME"),
    (["--set", "module={project}/good.py"], "give this project's model a name, --set model_name=NAME"),
]
BAD_TUNING = [
    (["--set", "tuning.max_trials=4"], "there is no tuning setting 'max_trials'; did you mean 'max_trial_count'?"),
    (["--set", "tuning.metric=val_accuracy"], "tuning.goal is missing"),
    (
        ["--set", "tuning.algorithm=magic"],
        "tuning.algorithm must be one of TPE, RANDOM_SEARCH, GRID_SEARCH; got 'magic'",
    ),
    (["--set", "tuning.search_space.units.type=integer"], "units"),
    (["--set", 'tuning.search_space={"unit": {"type": "discrete", "values": [1]}}'], "did you mean 'units'?"),
    (["--set", "module={project}/good.py"], "the search space is empty"),
]


@pytest.mark.parametrize(
    ("options", "message"), BAD_RUNS, ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_a_bad_setting_is_refused_before_anything_starts(
    trainwright: Callable[..., Any], home: Path, project: Path, options: list[str], message: str
) -> None:
    _assert_refused(trainwright, home, project, "train_and_deploy", options, message)


@pytest.mark.parametrize(
    ("options", "message"), BAD_TUNING, ids=lambda each: " ".join(each) if isinstance(each, list) else ""
)
def test_a_bad_setting_of_the_tuning_is_refused_before_anything_starts(
    trainwright: Callable[..., Any], home: Path, project: Path, options: list[str], message: str
) -> None:
    _assert_refused(trainwright, home, project, "tune_train_deploy", options, message)


def test_a_name_that_is_served_from_another_folder_is_refused_before_anything_starts(
    trainwright: Callable[..., Any], home: Path, project: Path
) -> None:
    (home / "serving").mkdir(parents=True)
    add_model(home, "digits", project / "folder")
    _assert_refused(trainwright, home, project, "train_and_deploy", [], "model 'digits' is already served from")


def _assert_refused(
    trainwright: Callable[..., Any], home: Path, project: Path, pipeline: str, options: list[str], message: str
) -> None:
    outcome = trainwright("run", pipeline, *(each.replace("{project}", str(project)) for each in options))
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("other.yaml", "is not a compiled pipeline: `root` is missing"),
        ("broken.yaml", "is not valid YAML"),
        ("plain.py", "has no @dsl.pipeline"),
        ("plain.py:nightly", "is not a pipeline: put @dsl.pipeline above it"),
        ("plain.py:nihgtly", "has no function 'nihgtly'; did you mean 'nightly'?"),
        ("broken.py:build_model", "broken.py, line 1: expected ':'"),
    ],
)
def test_what_is_no_pipeline_is_refused(
    trainwright: Callable[..., Any], project: Path, pipeline: str, message: str
) -> None:
    outcome = trainwright("run", str(project / pipeline))
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_an_exception_in_the_users_pipeline_file_shows_the_users_lines_alone(
    trainwright: Callable[..., Any], project: Path
) -> None:
    outcome = trainwright("run", str(project / "raises.py"))
    assert outcome.code == 2
    assert "raises.py cannot be imported: 'from the user'" in outcome.err
    assert 'raises.py", line 3' in outcome.err
    assert "trainwright_pipelines" not in outcome.err


@pytest.mark.parametrize(
    ("call", "way"),
    [
        ('prepare_data(source="a.csv", label="y", time_column="day")', 'prepare_data(data={"time_column": ...})'),
        ('prepare_data(source="a.csv", label="y", source_format="csv")', 'prepare_data(data={"format": ...})'),
        ('prepare_data(source="a.csv", label="y", thresholds={})', ""),
        ('trained(nonsense="day")', ""),
    ],
)
def test_an_older_argument_of_a_component_is_refused_with_the_new_one(
    trainwright: Callable[..., Any], project: Path, call: str, way: str
) -> None:
    (project / "older.py").write_text(
        "from kfp import dsl\nfrom trainwright.components import prepare_data\n\n\n"
        "@dsl.component(base_image='i')\ndef trained() -> None: ...\n\n\n"
        f"@dsl.pipeline\ndef older() -> None:\n    {call}\n"
    )
    outcome = trainwright("run", str(project / "older.py"))
    assert outcome.code == 2
    first = outcome.err.partition("Traceback")[0].strip()
    assert "got an unexpected keyword argument" in first
    assert first.endswith(f" It is now written {way}" if way else '".')


def test_an_error_is_a_document_when_json_is_asked_for(trainwright: Callable[..., Any]) -> None:
    outcome = trainwright("pipelines", "nonsense-name", "--json")
    document = json.loads(outcome.out)
    assert document["error"]["kind"] == "InvalidPipeline"
    assert "nonsense-name" in document["error"]["message"]


def test_an_unexpected_error_is_short_and_names_the_file_with_its_traceback(
    trainwright: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(main_module.cli, "main", fail)
    outcome = trainwright("doctor")
    assert outcome.code == 70
    assert "ZeroDivisionError: a bug of ours" in outcome.err
    assert "Traceback" not in outcome.err
    (file,) = (home / "errors").iterdir()
    assert str(file) in outcome.err
    assert "Traceback" in file.read_text()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nothing"])
@pytest.mark.parametrize("line", ["run train_and_deploy", "runs list", "serve status", "predict m {}"])
def test_a_home_that_cannot_be_is_told(
    trainwright: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, line: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRAINWRIGHT_HOME", str(tmp_path / place))
    outcome = trainwright(*line.split())
    assert outcome.code == 2
    assert "set TRAINWRIGHT_HOME to a folder of yours" in outcome.err
    assert "Traceback" not in outcome.err


ADDRESS_LINES = {
    "run train_and_deploy --set serving.base_path=gs://bucket/models": "serving.base_path",
    "run train_and_deploy --set serving.base_path=gs:/bucket/models": "serving.base_path",
    "run train_and_deploy --set serving.enabled=false --set serving.base_path=gs://bucket/models": "serving.base_path",
    "run train_and_deploy --target kubeflow --set serving.base_path=gs:/bucket/models": "serving.base_path",
    "compile batch_score --output gs://bucket/spec.yaml": "a file to write",
    "new gs://bucket/project": "a file to write",
    "drill --keep gs://bucket/drill": "--keep",
}


@pytest.mark.parametrize(("line", "name"), ADDRESS_LINES.items())
def test_an_address_does_not_become_a_folder(
    trainwright: Callable[..., Any], line: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = trainwright(*line.split())
    assert outcome.code == 2
    assert f"{name} must be a path on this machine, without a scheme; got gs://bucket/" in outcome.err
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []


def test_a_home_in_storage_is_refused(
    trainwright: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAINWRIGHT_HOME", "gs://bucket/home")
    outcome = trainwright("runs", "list")
    assert (outcome.code, list(tmp_path.iterdir())) == (2, [])
    assert "TRAINWRIGHT_HOME must be a path on this machine, without a scheme; got gs://bucket/home" in outcome.err


def test_a_home_that_is_not_utf8_is_refused(
    trainwright: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINWRIGHT_HOME", f"{tmp_path}/h\udce9")
    outcome = trainwright("runs", "list")
    assert (outcome.code, (tmp_path / "h\udce9").exists()) == (2, False)
    assert "h\\udce9 is not UTF-8 text; set TRAINWRIGHT_HOME to a folder of yours" in outcome.err


def test_a_pipeline_file_whose_name_is_not_utf8_compiles(trainwright: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "p\udce9.py"
    file.write_text(
        "from kfp import dsl\n"
        "@dsl.component(base_image='python:3.11', install_kfp_package=False)\n"
        "def say() -> str:\n    return 'x'\n"
        "@dsl.pipeline\ndef hello():\n    say()\n"
    )
    outcome = trainwright("compile", f"{file}:hello", "--output", str(tmp_path / "spec.yaml"))
    assert outcome.code == 0, outcome.err
    assert "comp-say" in (tmp_path / "spec.yaml").read_text()
