"""Names that the platform document takes from parameters, as the compiler writes them in groups."""

import functools
from pathlib import Path

import pytest

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.platform_settings import LocalSecrets, read_settings
from trainwright_pipelines.engine.records import Values
from trainwright_pipelines.engine.resolve import platform_value


@pytest.mark.parametrize(
    "written",
    ["pipelinechannel--loop-item-param-1-subvar-n", "loop-item-param-1-subvar-n", "pipelinechannel--p", "p"],
)
def test_a_name_is_found_however_the_compiler_calls_it(written: str) -> None:
    scope = Values(parameters={"pipelinechannel--loop-item-param-1": {"n": "k"}, "pipelinechannel--p": "k"})
    assert platform_value({"componentInputParameter": written}, scope, {}) == "k"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"secretAsEnv": [{"keyToEnv": [{"secretKey": "a", "envVar": "A"}], "secretNameParameter": 0}]}, "a secret"),
        ({"configMapAsVolume": [{"mountPath": "/x", "configMapNameParameter": 0}]}, "a config map"),
        ({"pvcMount": [{"mountPath": "/x", "pvcNameParameter": 0}]}, "a volume"),
    ],
)
def test_a_name_that_nothing_gives_is_an_error_that_says_from_where(
    tmp_path: Path, config: dict[str, list[dict[str, object]]], message: str
) -> None:
    given = {"componentInputParameter": "p"}
    named = {kind: [{key: value or given for key, value in each.items()} for each in config[kind]] for kind in config}
    resolve = functools.partial(platform_value, scope=Values(), upstream={})
    with pytest.raises(InvalidSetting, match=f"s takes the name of {message} from p, which has no value"):
        read_settings(named, step="s", run="r", local=LocalSecrets(path=tmp_path / "none"), resolve=resolve)


def test_what_is_asked_by_parameters_without_a_value_is_not_asked(tmp_path: Path) -> None:
    config = {
        "nodeSelector": {"nodeSelectorJson": {"componentInputParameter": "none"}},
        "tolerations": [{"tolerationJson": {"componentInputParameter": "none"}}],
        "nodeAffinity": [{"nodeAffinityJson": {"componentInputParameter": "some"}}],
        "newerField": "any",
    }
    resolve = functools.partial(platform_value, scope=Values(parameters={"some": {}}), upstream={})
    found = read_settings(config, step="s", run="r", local=LocalSecrets(path=tmp_path / "none"), resolve=resolve)
    assert found.warnings == ("newerField, nodeAffinity have no effect on this machine",)
