"""Layers with a placement really are on their devices: variables, forward pass, backward pass, and updates."""

import json
from pathlib import Path

from trainwright_components.processes.warm_parent import WarmParent

MODULES = Path(__file__).parents[1] / "modules"


def test_variables_and_operations_are_where_their_layers_are(warm_parent: WarmParent, tmp_path: Path) -> None:
    """Read from the graphs that ran, which TensorFlow cuts by device, for a recurrent and a lazily built layer too."""
    env, log = {"RESULT": str(tmp_path / "result.json")}, tmp_path / "log"
    script = {"path_name": str(MODULES / "place_layers.py")}
    with warm_parent.spawn("runpy:run_path", script, log=log, env=env) as child:
        assert child.wait(180) == 0, log.read_text()
    found = json.loads((tmp_path / "result.json").read_text())
    places = {"lstm": ["CPU:2"], "first": ["CPU:1"], "lazy": ["CPU:1"], "last": ["CPU:0"]}
    assert found["variables"] == {**places, "slots of lstm": ["CPU:2"]}
    directions = ("forward", "backward")
    expected = {f"{layer} {direction}": devices for layer, devices in places.items() for direction in directions}
    assert found["products"] == expected
