"""What the platform document asks for a step, and what of it has no effect here."""

import functools
from pathlib import Path

import pytest
import yaml

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.engine.platform_settings import LocalSecrets, PlatformSettings, read_settings
from trainwright_pipelines.engine.records import State, Values
from trainwright_pipelines.engine.resolve import Outcome, platform_value


def settings(config: dict[str, object], secrets: Path) -> PlatformSettings:
    return read_settings(
        config, step="s", run="r", local=LocalSecrets.load(secrets.parent, {}), resolve=lambda raw: raw["name"]
    )


def test_secrets_config_maps_and_volumes_are_read(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(yaml.safe_dump({"secrets": {"k": {"a": "1", "b": 2}}, "config_maps": {"c": {"x": "y"}}}))
    config = {
        "secretAsEnv": [{"secretName": "k", "keyToEnv": [{"secretKey": "a", "envVar": "A"}]}],
        "configMapAsEnv": [
            {"configMapNameParameter": {"name": "c"}, "keyToEnv": [{"configMapKey": "x", "envVar": "X"}]}
        ],
        "secretAsVolume": [{"secretName": "k", "mountPath": "/keys"}],
        "pvcMount": [{"constant": "claim", "mountPath": "/data", "subPath": "sub"}],
        "emptyDirMounts": [{"volumeName": "e", "mountPath": "/scratch"}],
        "fieldPathAsEnv": [{"name": "POD", "fieldPath": "metadata.name"}],
        "tolerations": [{}],
        "imagePullPolicy": "Always",
        "activeDeadlineSeconds": "30",
    }
    found = settings(config, secrets)
    assert found.env == {"A": "1", "X": "y", "POD": "r-s"}
    assert (found.timeout_s, found.pull_policy) == (30, "Always")
    assert found.warnings == ("tolerations has no effect on this machine",)
    folders = found.volumes.make(tmp_path / "lasting", tmp_path / "passing")
    assert folders["/data"] == tmp_path / "lasting/claim/sub"
    assert (folders["/keys"] / "b").read_text() == "2"
    assert (folders["/keys"] / "b").stat().st_mode & 0o777 == 0o600
    assert list(folders["/scratch"].iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"secretAsEnv": [{"secretName": "no", "keyToEnv": [{"secretKey": "a", "envVar": "A"}]}]},
            "secrets: {no: {a: ",
        ),
        ({"configMapAsVolume": [{"configMapName": "no", "mountPath": "/x"}]}, "config map 'no'"),
        ({"pvcMount": [{"constant": "../x", "mountPath": "/x"}]}, "which is none"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, config: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        settings(config, tmp_path / "secrets.yaml")


def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    secret = {"secretName": "no", "optional": True}
    config_map = {"configMapName": "no", "optional": True}
    config: dict[str, object] = {
        "secretAsEnv": [{**secret, "keyToEnv": [{"secretKey": "a", "envVar": "A"}]}],
        "configMapAsEnv": [{**config_map, "keyToEnv": [{"configMapKey": "a", "envVar": "A"}]}],
        "secretAsVolume": [{**secret, "mountPath": "/a"}],
        "configMapAsVolume": [{**config_map, "mountPath": "/b"}],
    }
    found = settings(config, tmp_path / "none" / "secrets.yaml")
    assert found.env == {}
    assert found.volumes.files == {"/a": {}, "/b": {}}


def test_names_of_secrets_config_maps_and_claims_come_as_parameters_or_constants(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(yaml.safe_dump({"secrets": {"k": {"a": "1"}}, "config_maps": {"c": {"x": "y"}}}))
    given = {"componentInputParameter": "name"}
    config = {
        "secretAsEnv": [{"secretNameParameter": given, "keyToEnv": [{"secretKey": "a", "envVar": "A"}]}],
        "configMapAsEnv": [{"configMapName": "c", "keyToEnv": [{"configMapKey": "x", "envVar": "X"}]}],
        "secretAsVolume": [{"secretNameParameter": given, "mountPath": "/k"}],
        "configMapAsVolume": [
            {"configMapNameParameter": {"runtimeValue": {"constant": "c"}}, "mountPath": "/c"},
        ],
        "pvcMount": [
            {"pvcNameParameter": given, "mountPath": "/new"},
            {"componentInputParameter": "name", "mountPath": "/old"},
            {"taskOutputParameter": {"producerTask": "t", "outputParameterKey": "o"}, "mountPath": "/oldest"},
        ],
        "genericEphemeralVolume": [{"mountPath": "/e", "size": "1Gi"}],
    }
    upstream = {"t": Outcome(state=State.SUCCEEDED, outputs=Values(parameters={"o": "made"}))}
    resolve = functools.partial(platform_value, scope=Values(parameters={"name": "k"}), upstream=upstream)
    found = read_settings(config, step="s", run="r", local=LocalSecrets.load(secrets.parent, {}), resolve=resolve)
    assert found.env == {"A": "1", "X": "y"}
    assert found.volumes.files == {"/k": {"a": "1"}, "/c": {"x": "y"}}
    assert found.volumes.lasting == {"/new": "k", "/old": "k", "/oldest": "made"}
    assert found.volumes.passing == ("/e",)


@pytest.mark.parametrize("name", ["tolerations", "nodeSelector", "nodeAffinity", "podAffinity", "securityContext"])
def test_what_has_no_effect_here_is_named(tmp_path: Path, name: str) -> None:
    assert settings({name: {"any": "thing"}}, tmp_path / "none").warnings == (f"{name} has no effect on this machine",)
