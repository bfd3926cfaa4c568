"""Settings of a target: from `--option`, over the section of that target in the home's config.yaml."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean
from trainwright_components.home import Home
from trainwright_pipelines.targets import TARGETS
from trainwright_pipelines.targets.protocol import Target


def make_target(name: str, options: Sequence[str], home: Home) -> Target:
    """Import and make the target `name`.

    Args:
        name: A key of TARGETS.
        options: `NAME=VALUE` from the command line; they win over the configuration file.
        home: Whose `config.yaml` may hold `targets: {NAME: {...}}`.

    Raises:
        InvalidSetting: There is no such target, or it has no such option.
    """
    if name not in TARGETS:
        raise InvalidSetting(f"there is no target {name!r}{did_you_mean(name, TARGETS)}")
    module, _, attribute = TARGETS[name].partition(":")
    target: type[Target] = getattr(import_module(module), attribute)
    values = {**_configured(name, home), **dict(map(_split_option, options))}
    for option in values:
        if option not in target.options:
            raise InvalidSetting(f"target {name} has no option {option!r}{did_you_mean(option, target.options)}")
    return target.from_options(values, home)


def _split_option(option: str) -> tuple[str, str]:
    name, separator, value = option.partition("=")
    if not separator or not name:
        raise InvalidSetting(f"--option takes NAME=VALUE, got {option!r}")
    return name.strip(), value


def _configured(name: str, home: Home) -> dict[str, str]:
    if not home.configuration.is_file():
        return {}
    import yaml

    try:
        content: Any = yaml.safe_load(home.configuration.read_text())
    except yaml.YAMLError as error:
        raise InvalidSetting(f"{home.configuration} is not valid YAML: {error}") from error
    section = ((content or {}).get("targets") or {}).get(name) or {} if isinstance(content, dict | None) else None
    if not isinstance(section, dict):
        raise InvalidSetting(f"{home.configuration}: targets.{name} must be a mapping of options")
    return {str(key): str(value) for key, value in section.items()}
