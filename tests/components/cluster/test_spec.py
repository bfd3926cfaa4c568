"""Roles are typed, one rule says who is chief, and one builder writes TF_CONFIG."""

import json
from typing import Any

import pytest

from trainwright_components.cluster.spec import ClusterSpec, Member
from trainwright_components.cluster.tf_config import (
    build_tf_config,
    complete_tf_config,
    find_place,
    read_tf_config,
    refuse_foreign_cluster,
)
from trainwright_components.errors import InvalidSetting


def member(name: str) -> Member:
    role, _, index = name.partition("-")
    return Member(role=role, index=int(index))


def test_replicas_may_be_given_short_or_with_machines() -> None:
    spec = ClusterSpec.from_mapping(
        {"chief": 1.0, "worker": {"replicas": 2, "machine": "n2", "accelerator": "l4 x 2"}, "max_restarts": 5}
    )
    assert list(map(str, spec.members)) == ["chief-0", "worker-0", "worker-1"]
    assert (spec.trainers, spec.max_restarts, spec.worker.accelerator) == (3, 5, "l4 x 2")
    assert spec.to_mapping() == {"chief": 1, "worker": 2}


def test_no_role_is_this_process_alone() -> None:
    assert ClusterSpec.from_mapping({}).is_empty
    assert ClusterSpec.from_mapping({"worker": 0}).is_empty


@pytest.mark.parametrize(
    ("roles", "chief"),
    [
        ({"chief": 1, "worker": 2}, "chief-0"),
        ({"worker": 2}, "worker-0"),
        ({"worker": 2, "ps": 1}, "chief-0"),
        ({"worker": 2, "evaluator": 1}, "worker-0"),
        ({"evaluator": 1}, "chief-0"),
    ],
)
def test_exactly_one_member_is_chief(roles: dict[str, int], chief: str) -> None:
    spec = ClusterSpec.from_mapping(roles)
    assert [str(one) for one in spec.members if spec.is_chief(one)] == [chief]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers": 2}, r"no cluster setting 'workers'; did you mean 'worker'\?"),
        ({"worker": 1.5}, r"cluster\.worker must be an integer, got 1\.5"),
        ({"worker": -1}, r"cluster\.worker must be at least 0, got -1"),
        ({"chief": 2}, r"cluster\.chief must be 0 or 1, got 2"),
        ({"ps": 1}, r'^cluster\.ps needs at least one worker, such as \{"worker": 2, "ps": 1\}$'),
        ({"worker": 1, "evaluator": 2}, r"cluster\.evaluator must be 0 or 1, got 2"),
        ({"worker": {"replicas": 2, "gpu": 1}}, r"no cluster\.worker setting 'gpu'; there is: replicas, machine"),
        ({"worker": 1, "rendezvous_timeout_s": 0}, r"cluster\.rendezvous_timeout_s must be above 0, got 0\.0"),
    ],
)
def test_what_cannot_be_a_cluster_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        ClusterSpec.from_mapping(values)


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ({}, "1 replica"),
        ({"worker": 2}, "2 replicas"),
        ({"worker": 2, "ps": 1}, "2 workers, 1 parameter server"),
        ({"worker": 1, "ps": 2}, "1 worker, 2 parameter servers"),
    ],
)
def test_who_trains_is_said_in_words(roles: dict[str, int], words: str) -> None:
    assert ClusterSpec.from_mapping(roles).who_trains(max(1, roles.get("worker", 0))) == words


ADDRESSES = {"chief": ["h:1"], "worker": ["h:2", "h:3"], "evaluator": ["h:4"]}


@pytest.mark.parametrize("name", ["chief-0", "worker-1", "evaluator-0"])
def test_what_is_written_is_read(name: str) -> None:
    text = build_tf_config(ADDRESSES, member(name))
    role, _, index = name.partition("-")
    assert json.loads(text) == {
        "cluster": {"chief": ["h:1"], "worker": ["h:2", "h:3"]},
        "task": {"type": role, "index": int(index)},
    }
    found = read_tf_config({"TF_CONFIG": text})
    assert found is not None
    assert (found[0].to_mapping(), found[1]) == ({"chief": 1, "worker": 2}, member(name))


def test_the_parts_that_kubernetes_gives_make_the_whole() -> None:
    environ = {"NUM_NODES": "2", "JOB_NAME": "mj", "TF_HOST_PATTERN": "{job}-{i}.{job}", "JOB_COMPLETION_INDEX": "1"}
    assert json.loads(complete_tf_config(environ)["TF_CONFIG"]) == {
        "cluster": {"worker": ["mj-0.mj:2222", "mj-1.mj:2222"]},
        "task": {"type": "worker", "index": 1},
    }


def test_a_whole_that_is_there_stays() -> None:
    assert complete_tf_config({"TF_CONFIG": "{}", "TF_HOST_PATTERN": "x"}) == {}
    assert complete_tf_config({}) == {}
    assert read_tf_config({}) is None
    assert read_tf_config({"TF_CONFIG": "{}"}) is None


def test_an_unreadable_one_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="TF_CONFIG cannot be read"):
        read_tf_config({"TF_CONFIG": "{"})
    with pytest.raises(InvalidSetting, match="NUM_NODES, JOB_NAME and JOB_COMPLETION_INDEX are needed too"):
        complete_tf_config({"TF_HOST_PATTERN": "{job}"})


@pytest.mark.parametrize("pattern", ["{}-{}", "{0}", "{job.x}", "{job[z]}", "{i[0]}", "{node}", "{job", "{i:x y}"])
def test_a_pattern_with_other_braces_is_refused_by_its_text(pattern: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        complete_tf_config({**PARTS, "TF_HOST_PATTERN": pattern})
    assert str(caught.value) == (
        f"TF_HOST_PATTERN may hold {{job}} and {{i}} in braces, such as {{job}}-{{i}}.{{job}}; got {pattern!r}: "
        "correct it, or unset it"
    )


def config(cluster: object, task: object) -> str:
    return json.dumps({"cluster": cluster, "task": task, "environment": "cloud", "job": {}})


WORKER_1 = {"type": "worker", "index": "1", "trial": "3"}
POOL_1 = {"type": "workerpool1", "index": 0}
POOLS = config({"workerpool0": ["a:1"], "workerpool1": ["b:1", "c:1"]}, POOL_1)
PARTS = {"NUM_NODES": "2", "JOB_NAME": "mj", "TF_HOST_PATTERN": "{job}-{i}.{job}", "JOB_COMPLETION_INDEX": "1"}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TF_CONFIG": config({"worker": ["a:1", "b:1"]}, WORKER_1)}, r"TF_CONFIG makes .* worker-1 .*\(worker: 2\)"),
        (
            {"TF_CONFIG": config({"master": ["a:1"], "ps": ["b:1"], "worker": ["c:1"]}, {"type": "ps", "index": 0})},
            r"ps-0 of a cluster \(chief: 1, ps: 1, worker: 1\)",
        ),
        (
            {"TF_CONFIG": config({"chief": ["a:1"]}, {"type": "evaluator", "index": 0})},
            r"evaluator-0 of a cluster \(evaluator: 1, chief: 1\)",
        ),
        ({"TF_CONFIG": config({"pool": ["a:1", "b:1"]}, {"type": "pool", "index": 0})}, r"pool-0 of .* \(pool: 2\)"),
        (PARTS, r"TF_HOST_PATTERN makes this process worker-1 of a cluster \(worker: 2\)"),
        (
            {"CLUSTER_SPEC": config({"workerpool0": ["a:1"], "workerpool1": ["b:1"]}, POOL_1)},
            r"CLUSTER_SPEC makes .* worker-0 of .* \(chief: 1, worker: 1\)",
        ),
        (
            {"TF_CONFIG": config({"master": ["a:1"], "chief": ["b:1"]}, {"type": "master", "index": 0})},
            r"chief-0 of a cluster \(chief: 2\)",
        ),
        ({"TF_CONFIG": " ", **PARTS}, r"TF_HOST_PATTERN makes this process worker-1 of a cluster \(worker: 2\)"),
        ({"TF_CONFIG": "{}", "CLUSTER_SPEC": POOLS}, r"CLUSTER_SPEC makes .* \(chief: 1, worker: 2\)"),
        ({"TF_CONFIG": '{"cluster": {"worker": []}}', "CLUSTER_SPEC": POOLS}, "CLUSTER_SPEC makes"),
        ({"TF_CONFIG": " ", "CLUSTER_SPEC": POOLS}, "CLUSTER_SPEC makes"),
        ({"CLUSTER_SPEC": config({"workerpool0": "a:1"}, POOL_1)}, "CLUSTER_SPEC cannot be read: .cluster. must give"),
    ],
)
def test_the_cluster_of_another_launcher_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        refuse_foreign_cluster(environ)


def test_vertex_pools_are_roles_and_tensorflow_is_told_in_its_own_words() -> None:
    """The order of the pools: https://cloud.google.com/vertex-ai/docs/training/distributed-training."""
    pools = {"workerpool0": ["a:1"], "workerpool1": ["b:1"], "workerpool2": ["c:1", "d:1"], "workerpool3": ["e:1"]}
    found = find_place({"CLUSTER_SPEC": config(pools, {"type": "workerpool2", "index": 1, "trial": "1"})})
    assert found is not None
    assert (str(found.member), found.spec.to_mapping()) == ("ps-1", {"chief": 1, "worker": 1, "ps": 2})
    assert json.loads(found.to_env()["TF_CONFIG"]) == {
        "cluster": {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1", "d:1"]},
        "task": {"type": "ps", "index": 1},
    }
    evaluator = find_place({"CLUSTER_SPEC": config(pools, {"type": "workerpool3", "index": 0})})
    assert evaluator is not None
    assert str(evaluator.member) == "evaluator-0"
    assert not evaluator.is_chief
    master = find_place({"TF_CONFIG": config({"master": ["a:1"], "worker": ["b:1"]}, {"type": "master", "index": 0})})
    assert master is not None
    assert master.is_chief
    assert '"chief": ["a:1"]' in master.to_env()["TF_CONFIG"]


def test_a_cluster_that_cannot_train_is_told_with_its_variable() -> None:
    found = find_place({"TF_CONFIG": config({"worker": ["a:1"], "ps": ["b:1"]}, {"type": "ps", "index": 0})})
    assert found is not None
    with pytest.raises(InvalidSetting, match="TF_CONFIG names a cluster that cannot train: parameter servers need a"):
        assert found.spec


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TF_CONFIG": " "},
        {"TF_CONFIG": "{}"},
        {"TF_CONFIG": '{"cluster": {}, "task": {}}'},
        {"TF_CONFIG": config({"worker": ["a:1"]}, {"type": "worker", "index": 0})},
        {"TF_CONFIG": config({"chief": ["a:1"], "worker": []}, {"type": "chief", "index": 0})},
        {"CLUSTER_SPEC": config({"workerpool0": ["a:1"]}, {"type": "workerpool0", "index": 0})},
        {"CLUSTER_SPEC": "my cluster"},
        {"CLUSTER_SPEC": "my workerpool0"},
        {"CLUSTER_SPEC": "workerpool" + "[" * 100_000},
        {"CLUSTER_SPEC": "[" * 100_000},
        {"CLUSTER_SPEC": '["workerpool0"]'},
        {"CLUSTER_SPEC": '{"cluster": "workerpool0"}'},
        {"CLUSTER_SPEC": '{"name": "workerpool0", "cluster": {"nodes": ["a", "b"]}}'},
        {"TF_CONFIG": "{}", **PARTS},
    ],
)
def test_a_process_alone_is_not_refused(environ: dict[str, str]) -> None:
    refuse_foreign_cluster(environ)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", r"it is not valid JSON \(Expecting"),
        ("[" * 100_000, r"it is not valid JSON \(maximum recursion depth"),
        ("[1]", "it must be a JSON object"),
        ("null", "it must be a JSON object"),
        ('{"cluster": ["a:1", "b:1"]}', '"cluster" must give a list'),
        ('{"cluster": []}', '"cluster" must give a list'),
        ('{"cluster": {"worker": "a:1"}}', '"cluster" must give a list'),
        ('{"cluster": {"worker": 2}}', '"cluster" must give a list'),
        ('{"cluster": {"worker": [1, 2]}}', '"cluster" must give a list'),
        (config({"worker": ["a:1", "b:1"]}, None), '"task" must have'),
        (config({"worker": ["a:1"]}, {"type": "worker"}), '"task" must have'),
        (config({"worker": ["a:1"]}, {"type": 0, "index": 0}), '"task" must have'),
        (config({"worker": ["a:1"]}, {"type": "worker", "index": 0.5}), '"task" must have'),
        (config({"worker": ["a:1"]}, {"type": "worker", "index": True}), '"task" must have'),
        (config({"worker": ["a:1"]}, {"type": "worker", "index": 1}), '"task" is worker-1, which "cluster" does not'),
        (config({"worker": ["a:1"]}, {"type": "ps", "index": 0}), '"task" is ps-0, which "cluster" does not have'),
    ],
)
def test_a_malformed_one_is_told_in_words(text: str, why: str) -> None:
    for read in (read_tf_config, refuse_foreign_cluster):
        with pytest.raises(InvalidSetting, match=f"TF_CONFIG cannot be read: {why}.*; correct it, or unset it: "):
            read({"TF_CONFIG": text})


def test_a_role_that_training_does_not_know_is_named() -> None:
    with pytest.raises(InvalidSetting, match="TF_CONFIG names the role 'pool'; there are: chief, worker, ps"):
        read_tf_config({"TF_CONFIG": config({"pool": ["a:1"]}, {"type": "pool", "index": 0})})


def test_a_role_of_plain_values_is_refused_with_the_way_to_give_it() -> None:
    with pytest.raises(InvalidSetting, match=r"cluster\.worker takes .* ClusterSpec\.from_mapping\(\{'worker': 2\}\)"):
        ClusterSpec(worker=2)  # type: ignore[arg-type]
    assert ClusterSpec.from_mapping({"worker": 2}).worker.replicas == 2
