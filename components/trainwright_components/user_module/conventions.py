"""What is agreed of every model module: its entry files, and how overrides go into its parameters. No TensorFlow."""

from collections.abc import Mapping
from typing import Any

from trainwright_components.errors import InvalidSetting
from trainwright_components.hints import did_you_mean

ENTRY_FILES = ("model.py", "__init__.py")


def merge_params(defaults: Mapping[str, Any], overrides: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """`defaults` with `overrides`, which take the type of the default that they replace.

    Args:
        defaults: A module's `DEFAULT_PARAMS`.
        overrides: Values by name.
        owner: The module, for messages.

    Raises:
        InvalidSetting: An override that has no default, or is of another type.
    """
    params = dict(defaults)
    for name, value in overrides.items():
        if name not in params:
            known = ", ".join(params) or "none"
            raise InvalidSetting(
                f"{owner} has no parameter {name!r}; DEFAULT_PARAMS has: {known}"
                + did_you_mean(name, params, list_at_most=0)
            )
        params[name] = _like(params[name], value, name)
    return params


def _like(default: Any, value: Any, name: str) -> Any:
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(default, bool) == isinstance(value, bool)
        converted = value
    elif isinstance(default, int):
        fits = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # JSON has one number type
        converted = int(value) if fits else value
    elif isinstance(default, float):
        fits = isinstance(value, int | float)
        converted = float(value) if fits else value
    else:
        fits = default is None or isinstance(value, type(default))
        converted = value
    if not fits:
        raise InvalidSetting(f"params.{name} must be like its default {default!r}, got {value!r}")
    return converted
