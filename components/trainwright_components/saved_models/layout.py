"""The files of a SavedModel's folder, wherever it is stored. Imports no TensorFlow for a local one."""

from pathlib import Path

from trainwright_components.datasets.schema import SCHEMA_FILE, Schema
from trainwright_components.storage.addresses import join
from trainwright_components.storage.locations import exists, read_bytes

SAVED_MODEL_FILE = "saved_model.pb"
WARMUP_FILE = "tf_serving_warmup_requests"
_ASSETS = "assets.extra"  # the name under which TensorFlow Serving looks for warm-up requests


def assets_folder(folder: Path) -> Path:
    """Where a SavedModel keeps what TensorFlow does not know of: its schema and warm-up requests."""
    return folder / _ASSETS


def written_schema(location: str | Path) -> Schema | None:
    """The schema that was exported with the SavedModel in `location`; None where there is none.

    Raises:
        InvalidSetting: It cannot be read.
        InvalidData: It is not a schema.
    """
    file = join(join(str(location), _ASSETS), SCHEMA_FILE)
    return Schema.from_json(read_bytes(file).decode("utf-8")) if exists(file) else None
