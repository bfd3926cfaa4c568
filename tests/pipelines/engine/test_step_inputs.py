"""What a step must be given before it starts."""

import pytest

from trainwright_components.errors import InvalidPipeline, InvalidSetting
from trainwright_pipelines.engine.records import Values
from trainwright_pipelines.engine.resolve import fill_defaults
from trainwright_pipelines.ir.spec import Component, ParameterSlot


def component(**slots: ParameterSlot) -> Component:
    return Component(
        name="c",
        executor="e",
        dag=None,
        input_parameters=slots,
        input_artifacts={},
        output_parameters={},
        output_artifacts={},
    )


def test_a_final_status_that_nothing_gives_is_told_before_the_step_starts() -> None:
    status = component(status=ParameterSlot(type="TASK_FINAL_STATUS", is_optional=True))
    with pytest.raises(InvalidPipeline, match="s needs a value for 'status', and nothing before it gave one"):
        fill_defaults(Values(), status, "s")


def test_a_value_that_an_input_of_a_step_does_not_allow_is_refused() -> None:
    slots = component(colour=ParameterSlot(type="STRING", literals=("red", "blue"), is_optional=True))
    assert fill_defaults(Values(parameters={"colour": "red"}), slots, "s").parameters == {"colour": "red"}
    assert fill_defaults(Values(), slots, "s").parameters == {}
    with pytest.raises(InvalidSetting, match="'colour' is one of red, blue, got 'green'"):
        fill_defaults(Values(parameters={"colour": "green"}), slots, "s")
