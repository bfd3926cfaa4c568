"""Each strategy keeps the contract: it knows its name, what it can do, when it is chosen, and what it refuses."""

from typing import Any

import pytest

from trainwright_components.cluster.spec import ClusterSpec
from trainwright_components.errors import InvalidSetting
from trainwright_components.training.configuration.settings import STRATEGIES, TrainingSettings
from trainwright_components.training.strategies.choice import choose_strategy, find_strategy
from trainwright_components.training.strategies.protocol import Strategy

WORKERS, WITH_SERVERS = {"worker": 2}, {"worker": 2, "ps": 1}
FITTING: dict[str, tuple[dict[str, Any], dict[str, int], int]] = {
    "one_device": ({}, {}, 1),
    "mirrored": ({"logical_devices": 2}, {}, 2),
    "multi_worker_mirrored": ({}, WORKERS, 2),
    "parameter_server": ({}, WITH_SERVERS, 1),
    "central_storage": ({"logical_devices": 2}, {}, 2),
    "tpu": ({"drop_remainder": True}, {}, 1),
    "placement": ({"placement": {"dense": "CPU:0"}}, {}, 1),
    "dtensor": ({"layout": {"dense/kernel": 1}}, {}, 1),
}
"""Settings and a cluster that fit, and the replicas that they make at least."""
NEVER_AUTOMATIC = {"central_storage", "tpu"}
CLUSTERS: dict[str, dict[str, int]] = {"none": {}, "workers": WORKERS, "servers": WITH_SERVERS}


def test_there_is_a_fitting_example_of_each_strategy() -> None:
    assert list(FITTING) == list(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
class TestStrategy:
    """The contract of `Strategy`."""

    @pytest.fixture
    def strategy(self, name: str) -> Strategy:
        return find_strategy(name)

    @pytest.fixture
    def settings(self, name: str) -> TrainingSettings:
        return TrainingSettings(**FITTING[name][0])

    @pytest.fixture
    def cluster(self, name: str) -> ClusterSpec:
        return ClusterSpec.from_mapping(FITTING[name][1])

    def test_it_is_found_by_its_name_and_fits_its_example(
        self, name: str, strategy: Strategy, settings: TrainingSettings, cluster: ClusterSpec
    ) -> None:
        assert strategy.name == name
        strategy.check(settings, cluster)
        assert strategy.least_replicas(settings, cluster) == FITTING[name][2]

    def test_it_is_chosen_when_it_is_set_or_has_a_reason(self, name: str, cluster: ClusterSpec) -> None:
        more = FITTING[name][0]
        assert choose_strategy(TrainingSettings(strategy=name, **more), cluster).strategy.name == name
        automatic = choose_strategy(TrainingSettings(**more), cluster)
        assert (automatic.strategy.name == name) == (name not in NEVER_AUTOMATIC)
        assert automatic.reason

    @pytest.mark.parametrize("others", CLUSTERS)
    def test_it_refuses_each_cluster_but_its_own_kind(
        self, name: str, others: str, strategy: Strategy, settings: TrainingSettings
    ) -> None:
        other = ClusterSpec.from_mapping(CLUSTERS[others])
        if CLUSTERS[others] == FITTING[name][1]:
            strategy.check(settings, other)
        else:
            with pytest.raises(InvalidSetting, match=rf"^training\.strategy {name} "):
                strategy.check(settings, other)

    @pytest.mark.parametrize(
        ("setting", "owner", "value"), [("placement", "placement", {"a": "CPU:0"}), ("layout", "dtensor", {"a": 0})]
    )
    def test_it_refuses_to_spread_a_model_as_another_does(
        self, name: str, setting: str, owner: str, value: dict[str, Any], strategy: Strategy, cluster: ClusterSpec
    ) -> None:
        settings = TrainingSettings(**{**FITTING[name][0], setting: value})
        if name == owner:
            strategy.check(settings, cluster)
        else:
            with pytest.raises(InvalidSetting, match=f"which is training.strategy {owner}; {name} does it otherwise"):
                strategy.check(settings, cluster)

    def test_more_replicas_than_rows_are_refused(self, name: str, cluster: ClusterSpec) -> None:
        one_row = TrainingSettings(strategy=name, **{**FITTING[name][0], "batch_size": 1})
        if FITTING[name][2] == 1:
            choose_strategy(one_row, cluster)
        else:
            with pytest.raises(InvalidSetting, match=f"2 replicas of strategy {name}, but training.batch_size is 1"):
                choose_strategy(one_row, cluster)

    def test_a_comparison_has_as_many_steps_as_were_asked_for(self, name: str, strategy: Strategy) -> None:
        asked = strategy.proof(TrainingSettings(equivalence_steps=7))
        assert (asked.steps if asked is not None else 0) == (0 if name == "parameter_server" else 7)
        unasked = strategy.proof(TrainingSettings())
        assert (unasked is not None and unasked.limit is not None) == (name == "dtensor")
