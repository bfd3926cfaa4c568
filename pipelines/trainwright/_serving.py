"""Ask a served model from Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwright_components.errors import InvalidData
from trainwright_components.home import home_folder
from trainwright_components.model_server.operation import client
from trainwright_components.saved_models.signatures import SERVING_DEFAULT
from trainwright_pipelines.requests.rows import fit_rows
from trainwright_pipelines.requests.served_models import find_served_model, server_address


def predict(
    model: str,
    rows: Sequence[Any],
    *,
    signature: str = "",
    version: int | None = None,
    address: str = "",
    home: str | Path | None = None,
) -> list[Any]:
    """Ask a served model about rows.

    Args:
        model: The model's name.
        rows: One mapping each, which names the features as they are in the data; preprocessing is the model's.
        signature: Another signature than `serving_default`.
        version: Another version than the newest.
        address: Another server than this machine's, such as http://models:8501.
        home: The folder of state; what TRAINWRIGHT_HOME says when absent.

    Returns:
        An answer for each row.

    Raises:
        InvalidSetting: This machine has no such model or version.
        InvalidData: A value is missing that cannot be, or `rows` is not a list of rows.
        ServingUnavailable: The server cannot be reached, or refuses the request, such as rows that do not fit.
    """
    if isinstance(rows, str | Mapping):
        raise InvalidData(f"rows must be a list of rows, got {rows!r}; put one row in a list")
    instances = list(rows)
    if not address:
        root = home_folder(home)
        schema = find_served_model(root, model, version=version).schema
        if schema and signature in ("", SERVING_DEFAULT):
            instances = fit_rows(instances, schema)
        address = server_address(root)
    answers: list[Any] = client.predict(address, model, instances=instances, signature_name=signature, version=version)
    return answers
