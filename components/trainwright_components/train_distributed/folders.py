"""Where a training run writes: what its caller says, else what Vertex AI sets in a custom job with an output folder.

The variables are in https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables. Buckets
are mounted below /gcs there (https://cloud.google.com/vertex-ai/docs/training/cloud-storage-file-system).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainwright_components.errors import InvalidSetting
from trainwright_components.files import check_local
from trainwright_components.storage.addresses import scheme_of, split_bucket

MODEL_VARIABLE, LOGS_VARIABLE = "AIP_MODEL_DIR", "AIP_TENSORBOARD_LOG_DIR"
_SCHEME, _MOUNT = "gs", Path("/gcs")


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where a training run writes.

    Args:
        log_dir: Where TensorBoard logs go; none are written when absent.
    """

    output: Path
    log_dir: Path | None = None

    @classmethod
    def find(
        cls,
        output: str | Path,
        log_dir: str | Path | None,
        environ: Mapping[str, str],
        *,
        mount: Path = _MOUNT,
    ) -> "Folders":
        """The folders that were given; without `output` those that Vertex AI sets.

        Raises:
            InvalidSetting: There is no output, or a folder is not on this machine.
        """
        for name, path in {"output": output, "log_dir": log_dir}.items():
            check_local(path or "", name=name)
        if not output and not environ.get(MODEL_VARIABLE):
            raise InvalidSetting(f"there is no folder for the trained model: give OUTPUT, or set {MODEL_VARIABLE}")

        def folder(given: str | Path | None, variable: str) -> Path | None:
            if given or output:
                return Path(given) if given else None
            return _mounted(environ.get(variable, ""), variable, mount)

        found = folder(output, MODEL_VARIABLE)
        assert found is not None
        return cls(
            output=found,
            log_dir=folder(log_dir, LOGS_VARIABLE),
        )


def _mounted(address: str, variable: str, mount: Path) -> Path | None:
    """The path of an address in a bucket that is mounted; a path as it is."""
    if scheme_of(address) != _SCHEME:
        check_local(address, name=variable)
        return Path(address) if address else None
    bucket, rest = split_bucket(address)
    if not (mount / bucket).is_dir():
        raise InvalidSetting(
            f"{variable} is {address}, but {mount / bucket} is not there: mount the bucket, as Vertex AI does, or give "
            "OUTPUT, and --log-dir, as paths on this machine"
        )
    return mount / bucket / rest
