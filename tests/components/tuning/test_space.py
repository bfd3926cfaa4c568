"""Search spaces: what is refused and how it is said, conditions, grids, Vertex' form, scales."""

import math
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import StudySpec
from google.protobuf import json_format

from trainwright_components.errors import InvalidSetting
from trainwright_components.tuning.algorithms import ALGORITHMS
from trainwright_components.tuning.space import ScaleType
from trainwright_components.tuning.space_parsing import parse_space
from trainwright_components.tuning.study import Study, TuningSettings
from trainwright_components.tuning.suggesters.random_search import RandomSearch
from trainwright_components.tuning.vertex_records import study_record

CONDITIONAL: dict[str, Any] = {
    "momentum": {"type": "double", "min_value": 0.0, "max_value": 0.9, "when": {"optimizer": ["sgd"]}},
    "optimizer": {"type": "categorical", "values": ["adam", "sgd", "rmsprop"]},
    "units": {"type": "discrete", "values": [64, 16, 32], "default_value": 32},
    "layers": {"type": "integer", "min_value": 1, "max_value": 3, "scale_type": "UNIT_LOG_SCALE"},
    "width": {"type": "discrete", "values": [2, 4], "when": {"layers": [2, 3]}},
    "dropout": {"type": "double", "min_value": 0.01, "max_value": 0.99, "scale_type": "UNIT_REVERSE_LOG_SCALE"},
}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (5, r'search_space\.x must be a mapping such as \{"type": "double", \.\.\.\}, got 5'),
        ({"type": "duoble"}, r"search_space\.x has type 'duoble'.*did you mean 'double'\?"),
        ({"type": "double", "max_value": 1}, r"search_space\.x needs min_value"),
        ({"type": "double", "min_value": 2, "max_value": 1}, r"min_value 2 is greater than max_value 1"),
        ({"type": "double", "min_value": "1e-4", "max_value": 1}, r"min_value must be a finite number, got '1e-4'"),
        ({"type": "double", "min_value": 0, "max_value": math.inf}, r"max_value must be a finite number, got inf"),
        (
            {"type": "double", "min": 0, "max_value": 1},
            r"has no setting 'min' \(double takes .*did you mean 'min_value'\?",
        ),
        (
            {"type": "double", "min_value": 0, "max_value": 1, "scale_type": "UNIT_LOG_SCALE"},
            r"UNIT_LOG_SCALE needs values above 0, got 0",
        ),
        (
            {"type": "double", "min_value": 1, "max_value": 2, "scale_type": "LOG_SCALE"},
            r"has scale_type 'LOG_SCALE'.*did you mean 'UNIT_LOG_SCALE'\?",
        ),
        ({"type": "integer", "min_value": 0.5, "max_value": 2}, r"min_value must be an integer, got 0\.5"),
        ({"type": "discrete", "values": []}, r"needs a list of values, got \[\]"),
        ({"type": "discrete", "values": [1, 1]}, r"names a value twice"),
        ({"type": "discrete", "values": ["a"]}, r'"categorical" for names'),
        ({"type": "categorical", "values": [1, 2]}, r'"discrete" for numbers'),
        ({"type": "categorical", "values": "ab"}, r"needs a list of values, got 'ab'"),
        ({"type": "integer", "min_value": 1, "max_value": 3, "default_value": 7}, r"default_value 7 is not one of"),
        ({"type": "integer", "min_value": 1, "max_value": 3, "when": {"y": [1]}}, r"'y', which is not in the space"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(spec: Any, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message) as caught:
        parse_space({"x": spec})
    assert str(caught.value).startswith("search_space.x ")


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"optimizer": ["sdg"]}, "'sdg', which is not a value of 'optimizer'"),
        ({"optimizer": "sgd"}, "needs a list of values of 'optimizer'"),
        ({"dropout": [0.5]}, "cannot depend on 'dropout'"),
        ({"optimiser": ["sgd"]}, "did you mean 'optimizer'"),
    ],
)
def test_a_bad_condition_is_refused_by_name(when: Any, message: str) -> None:
    space = {**CONDITIONAL, "momentum": {**CONDITIONAL["momentum"], "when": when}}
    with pytest.raises(InvalidSetting, match=rf"search_space\.momentum .*{message}"):
        parse_space(space)


def test_parameters_that_depend_on_each_other_are_refused() -> None:
    a = {"type": "discrete", "values": [1, 2], "when": {"b": [1]}}
    b = {"type": "discrete", "values": [1, 2], "when": {"a": [1]}}
    with pytest.raises(InvalidSetting, match="'a', 'b' depend on each other"):
        parse_space({"a": a, "b": b})


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="search space is empty"):
        parse_space({})


def test_the_grid_leaves_out_what_its_condition_leaves_out() -> None:
    space = parse_space({name: CONDITIONAL[name] for name in ("optimizer", "layers", "width")})
    points = list(space.grid())
    assert len(points) == 3 * (1 + 2 + 2)
    assert all(("width" in point) == (point["layers"] in (2, 3)) for point in points)
    assert len({tuple(point.items()) for point in points}) == len(points)


def test_a_grid_over_a_double_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"search_space\.dropout is a double, which GRID_SEARCH cannot"):
        list(parse_space(CONDITIONAL).grid())


def test_the_starting_point_is_the_modules_own_where_it_lies_in_the_space() -> None:
    space = parse_space(CONDITIONAL)
    params: dict[str, Any] = {
        "momentum": 0.5,
        "optimizer": "adam",
        "units": 64,
        "layers": 1,
        "width": 2,
        "dropout": 0.2,
    }
    assert space.starting_point(params) == {"optimizer": "adam", "units": 32, "layers": 1, "dropout": 0.2}
    assert space.starting_point({**params, "dropout": 2.0}) is None
    assert space.starting_point({**params, "layers": 2, "width": 3}) is None


def test_the_study_spec_is_what_vertex_reads() -> None:
    settings = TuningSettings.from_mapping({"metric": "auc", "goal": "maximize", "median_stopping": True})
    record = study_record(Study(settings=settings, space=parse_space(CONDITIONAL)))["studySpec"]
    spec = StudySpec(json_format.ParseDict(record, StudySpec.pb()()))
    assert spec.metrics[0].metric_id == "auc"
    assert spec.metrics[0].goal == StudySpec.MetricSpec.GoalType.MAXIMIZE
    assert "median_automated_stopping_spec" in spec
    by_name = {parameter.parameter_id: parameter for parameter in spec.parameters}
    assert sorted(by_name) == ["dropout", "layers", "optimizer", "units"]
    momentum = by_name["optimizer"].conditional_parameter_specs[0]
    assert list(momentum.parent_categorical_values.values) == ["sgd"]
    assert momentum.parameter_spec.double_value_spec.max_value == 0.9
    width = by_name["layers"].conditional_parameter_specs[0]
    assert list(width.parent_int_values.values) == [2, 3]
    assert list(by_name["units"].discrete_value_spec.values) == [16, 32, 64]
    assert by_name["units"].discrete_value_spec.default_value == 32
    assert by_name["dropout"].scale_type == StudySpec.ParameterSpec.ScaleType.UNIT_REVERSE_LOG_SCALE


def draw(space: dict[str, Any], count: int, **tuning: Any) -> list[dict[str, Any]]:
    settings = TuningSettings.from_mapping({"algorithm": "RANDOM_SEARCH", **tuning})
    suggester = RandomSearch(parse_space(space), settings)
    return [suggester.suggest(trial_id) for trial_id in range(1, count + 1)]


@pytest.mark.parametrize(
    ("scale", "median"),
    [("UNIT_LINEAR_SCALE", 0.5), ("UNIT_LOG_SCALE", 0.1), ("UNIT_REVERSE_LOG_SCALE", 1.01 - 0.1)],
)
def test_half_of_the_random_points_lie_below_the_middle_of_the_scale(scale: str, median: float) -> None:
    spec = {"type": "double", "min_value": 0.01, "max_value": 1.0, "scale_type": scale}
    drawn = sorted(point["x"] for point in draw({"x": spec}, 400))
    assert 0.01 <= drawn[0] <= drawn[-1] <= 1.0
    below = sum(x < median for x in drawn)
    assert 160 <= below <= 240  # four standard deviations of a fair coin
    assert parse_space({"x": spec})["x"].position(median) == pytest.approx(0.5, abs=0.01)


def test_random_points_respect_every_kind_and_condition() -> None:
    space = parse_space(CONDITIONAL)
    points = draw(CONDITIONAL, 60)
    for point in points:
        assert all(space[name].contains(value) for name, value in point.items())
        assert ("momentum" in point) == (point["optimizer"] == "sgd")
        assert ("width" in point) == (point["layers"] in (2, 3))
    assert {point["units"] for point in points} == {16, 32, 64}
    assert {point["layers"] for point in points} == {1, 2, 3}


def test_the_same_seed_draws_the_same_points_and_another_seed_others() -> None:
    assert draw(CONDITIONAL, 5, seed=7) == draw(CONDITIONAL, 5, seed=7) != draw(CONDITIONAL, 5, seed=8)


def test_positions_run_from_zero_to_one_on_every_scale() -> None:
    for scale in ScaleType:
        x = parse_space({"x": {"type": "integer", "min_value": 1, "max_value": 9, "scale_type": scale.value}})["x"]
        assert (x.position(1), x.position(9)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"metric": "val_accuracy"}, "tuning.goal is missing: say MAXIMIZE or MINIMIZE for 'val_accuracy'"),
        ({"goal": "UP"}, "tuning.goal must be one of MAXIMIZE, MINIMIZE; got 'UP'"),
        ({"algorithm": "GENETIC"}, f"tuning.algorithm must be one of {', '.join(ALGORITHMS)}; got 'GENETIC'"),
        ({"max_trials": 3}, "there is no tuning setting 'max_trials'; did you mean 'max_trial_count'?"),
        ({"max_trial_count": 0}, "tuning.max_trial_count must be at least 1, got 0"),
        ({"max_trial_count": "many"}, "tuning.max_trial_count must be an integer, got 'many'"),
        ({"parallel_trial_count": 1.5}, "tuning.parallel_trial_count must be an integer, got 1.5"),
        ({"median_stopping": "yes"}, "tuning.median_stopping must be true or false, got 'yes'"),
        ({"search_space": [1]}, "tuning.search_space must be a mapping, got [1]"),
    ],
)
def test_a_bad_setting_is_refused_by_name(tuning: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        TuningSettings.from_mapping(tuning)
    assert str(caught.value) == message


def test_numbers_that_lost_their_kind_on_the_way_through_json_are_accepted() -> None:
    assert TuningSettings.from_mapping({"max_trial_count": 4.0, "algorithm": "random"}).max_trial_count == 4


@pytest.mark.parametrize(
    ("scale", "low", "high", "middle"),
    [
        ("UNIT_LOG_SCALE", 1e-300, 1e300, 1.0),
        ("UNIT_LOG_SCALE", 5e-324, 1.7e308, math.sqrt(5e-324) * math.sqrt(1.7e308)),
        ("UNIT_REVERSE_LOG_SCALE", 1e-300, 1e300, 1e300),
        ("UNIT_REVERSE_LOG_SCALE", 1e308, 1.7e308, 1.3961595e308),
        ("UNIT_LINEAR_SCALE", -1.5e308, 1.5e308, 0.0),
    ],
)
def test_a_range_wider_than_a_float_is_searched_from_end_to_end(
    scale: str, low: float, high: float, middle: float
) -> None:
    spec = {"type": "double", "min_value": low, "max_value": high, "scale_type": scale}
    parameter = parse_space({"x": spec})["x"]
    assert parameter.at(0) == pytest.approx(low, abs=high * 1e-12 if "REVERSE" in scale else 0, rel=1e-12)
    assert parameter.at(0.5) == pytest.approx(middle, rel=1e-7)
    assert parameter.at(1) == pytest.approx(high, rel=1e-12)
    assert (parameter.position(low), parameter.position(high)) == pytest.approx((0, 1))
    assert all(parameter.contains(parameter.at(share / 100)) for share in range(101))
