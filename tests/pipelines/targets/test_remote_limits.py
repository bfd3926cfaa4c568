"""False success on a remote target: found in the spec, refused with what to set instead."""

from pathlib import Path
from typing import Any, Optional

import pytest
from kfp import compiler, dsl

from trainwright_components.deploy_serving.component import deploy_serving
from trainwright_components.errors import InvalidSetting
from trainwright_components.train_distributed.component import train_distributed
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import read_compiled, shipped_pipelines
from trainwright_pipelines.targets.remote_limits import find_remote_limits, refuse_remote_limits


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def score(n: int = 1) -> bool:
    return True


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def count_versions(base_path: str) -> int:
    from pathlib import Path

    from trainwright_components.saved_models.versions import list_versions

    return len(list_versions(Path(base_path)))


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def publish(model: dsl.Input[dsl.Artifact]) -> None:
    from pathlib import Path

    from trainwright_components.deploy_serving.deploy import deploy_model

    deploy_model(Path(model.path), Path(model.path), model_name="m", home=Path("home"))


def imported(uri: str = "gs://b/m", kind: Any = dsl.Model) -> Any:
    return dsl.importer(artifact_uri=uri, artifact_class=kind).output


def serve(name: str) -> None:
    deploy_serving(saved_model=imported(), golden_requests=imported(kind=dsl.Artifact), model_name=name)


@dsl.pipeline
def always() -> None:
    serve("m")


@dsl.pipeline
def own_step() -> None:
    publish(model=imported(kind=dsl.Artifact))


@dsl.pipeline
def when_good() -> None:
    with dsl.If(score().output == True):  # noqa: E712  a channel
        serve("m")


@dsl.pipeline
def in_production(env: str = "prod", skip: bool = False) -> None:
    scored = score()
    with dsl.If(scored.output == False):  # noqa: E712
        score(n=2)
    with dsl.Elif(env == "prod"), dsl.If(skip == False):  # noqa: E712
        serve("m")


@dsl.pipeline
def serve_below(is_on: bool) -> None:
    with dsl.If(is_on == True):  # noqa: E712
        serve("m")


@dsl.pipeline
def nested(publish_it: bool = True) -> None:
    with dsl.ExitHandler(score()), dsl.ParallelFor([1, 2]):
        serve_below(is_on=publish_it)


@dsl.pipeline
def switched_off_for_good() -> None:
    serve_below(is_on=False)
    count_versions(base_path="/models")


@dsl.pipeline
def train_many(workers: dict = {"worker": 2, "evaluator": 1}) -> None:  # type: ignore[type-arg]  # noqa: B006
    train_distributed(dataset=imported(kind=dsl.Dataset), module=imported(kind=dsl.Artifact), cluster=workers)


@dsl.pipeline
def train_two() -> None:
    train_distributed(dataset=imported(kind=dsl.Dataset), module=imported(kind=dsl.Artifact), cluster={"worker": 2})


def train(cluster: Any) -> None:
    train_distributed(dataset=imported(kind=dsl.Dataset), module=imported(kind=dsl.Artifact), cluster=cluster)


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def choose() -> dict:  # type: ignore[type-arg]
    return {"worker": 2}


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def choose_many() -> list:  # type: ignore[type-arg]
    return [{"c": {"worker": 2}}]


@dsl.pipeline
def each_constant() -> None:
    with dsl.ParallelFor([{"worker": 1}, {"worker": 2}]) as item:
        train(item)


@dsl.pipeline
def each_member() -> None:
    with dsl.ParallelFor([{"c": {"worker": 1}}, {"c": {"worker": 2}}]) as item:
        train(item.c)


@dsl.pipeline
def each_given(clusters: list = [{"c": {"worker": 1}}], n: int = 1) -> None:  # type: ignore[type-arg]  # noqa: B006
    with dsl.ParallelFor(clusters) as item, dsl.If(n == 1):
        train(item.c)


@dsl.pipeline
def each_of_each() -> None:
    with dsl.ParallelFor([[{"worker": 2}], []]) as items, dsl.ParallelFor(items) as item:
        train(item)


@dsl.pipeline
def each_switched() -> None:
    with dsl.ParallelFor([{"n": 1}, {"n": 2}]) as item, dsl.If(item.n == 3):
        serve("m")


@dsl.pipeline
def chosen_in_the_run() -> None:
    train(choose().output)


@dsl.pipeline
def each_chosen_in_the_run() -> None:
    with dsl.ParallelFor(choose_many().output) as item:
        train(item.c)


@dsl.pipeline
def maybe_many(cluster: Optional[dict] = None) -> None:  # type: ignore[type-arg]  # noqa: UP045  as KFP reads it
    train(cluster)


@dsl.pipeline
def needed(cluster: dict) -> None:  # type: ignore[type-arg]
    train(cluster)


def compiled(function: Any, folder: Path) -> CompiledPipeline:
    compiler.Compiler().compile(function, str(folder / "spec.yaml"))
    return read_compiled(folder / "spec.yaml")


@pytest.mark.parametrize(
    ("function", "values", "remedy"),
    [
        (always, {}, "leave the step out for this target, or put it under dsl.If on a pipeline parameter"),
        (own_step, {}, "leave the step out for this target"),
        (when_good, {}, "leave the step out for this target"),
        (in_production, {}, r"set env=\(another value than 'prod'\) or skip=true"),
        (nested, {}, "set publish_it=false"),
        (nested, {"publish_it": True}, "set publish_it=false"),
        (train_many, {}, r"3 members of its cluster .* set workers=\{\}"),
        (train_many, {"workers": {"worker": {"replicas": 2}}}, r"2 members .* set workers=\{\}"),
        (train_many, {"workers": {"chief": 1, "ps": 1, "worker": 1}}, "3 members"),
        (train_many, {"workers": {"wroker": 1}}, "did you mean 'worker'"),
        (train_two, {}, r"2 members .* set cluster=\{\}"),
        (train_many, {"workers": '{"worker": 2}'}, r"2 members of its cluster \{\"worker\": 2\} .* set workers=\{\}"),
        (train_many, {"workers": "two"}, "parameter 'workers' takes a mapping, got 'two'"),
        (nested, {"publish_it": "true"}, "set publish_it=false"),
        (each_constant, {}, r"2 members of its cluster \{\"worker\": 2\} .* set cluster=\{\}"),
        (each_member, {}, "2 members"),
        (
            each_given,
            {"clusters": [{"c": {"worker": 1}}, {"c": {"worker": 3}}]},
            "3 members .* take it out of clusters",
        ),
        (each_given, {"clusters": '[{"c": {"worker": 3}}]', "n": "1"}, "3 members .* take it out of clusters"),
        (each_of_each, {}, "2 members"),
        (chosen_in_the_run, {}, r"known only while the pipeline runs.* give the step cluster=\{\}"),
        (each_chosen_in_the_run, {}, "known only while the pipeline runs"),
        (needed, {"cluster": {"worker": 2}}, "2 members"),
    ],
)
def test_a_false_success_is_refused_with_the_remedy(function: Any, values: Any, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=remedy):
        refuse_remote_limits(compiled(function, tmp_path).pipeline, values)


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (in_production, {"env": "test"}),
        (in_production, {"skip": True}),
        (nested, {"publish_it": False}),
        (switched_off_for_good, {}),
        (train_many, {"workers": {}}),
        (train_many, {"workers": {"worker": 1}}),
        (train_many, {"workers": "{}"}),
        (nested, {"publish_it": "false"}),
        (each_given, {}),
        (each_given, {"clusters": [{"c": {"worker": 2}}], "n": 2}),
        (each_given, {"clusters": []}),
        (each_switched, {}),
        (maybe_many, {}),
        (needed, {}),
    ],
)
def test_what_is_switched_off_is_not_refused(function: Any, values: Any, tmp_path: Path) -> None:
    assert find_remote_limits(compiled(function, tmp_path).pipeline, values) == []


@pytest.mark.parametrize("name", ["train_and_deploy", "tune_train_deploy"])
def test_the_shipped_pipelines_name_both_settings(name: str, tmp_path: Path) -> None:
    pipeline = load_pipeline(shipped_pipelines()[name], tmp_path).pipeline
    serving, training = sorted(find_remote_limits(pipeline, {"cluster": {"worker": 2}}))
    assert training.startswith('train-distributed would start the 2 members of its cluster {"worker": 2} as processes')
    assert "set cluster={}" in training
    assert serving.startswith("deploy-serving would serve the model from inside its own pod")
    assert "set serving.enabled=false, and serve what export-savedmodel gives" in serving
    assert find_remote_limits(pipeline, {"serving": {"enabled": False}}) == []
