"""Turn a trained model into a SavedModel with signatures, warm-up records, golden requests and a model card."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainwright_components.export_savedmodel.archive import write_archive
from trainwright_components.export_savedmodel.model_card import write_card
from trainwright_components.export_savedmodel.requests import make_requests, write_warmup
from trainwright_components.export_savedmodel.signatures import SignatureBuilder
from trainwright_components.export_savedmodel.verify import Verification, verify_export
from trainwright_components.files import whole_folder, write_whole
from trainwright_components.saved_models.layout import SAVED_MODEL_FILE, assets_folder
from trainwright_components.training.trained_model import MODULE_FOLDER, TrainedModel
from trainwright_components.user_module.keras_process import call_beside_its_keras

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A SavedModel that answers as its Keras model does."""

    folder: Path
    signatures: tuple[str, ...]
    verified: Verification
    size_bytes: int
    golden_requests: int

    @property
    def metadata(self) -> dict[str, Any]:
        """What is kept beside the model, as JSON values."""
        return {
            "framework": "TensorFlow",
            "signatures": list(self.signatures),
            "largest_difference": self.verified.largest_difference,
            "verified_split": self.verified.split,
            "verified_rows": self.verified.rows,
            **self.verified.scores,
            "size_bytes": self.size_bytes,
            "golden_requests": self.golden_requests,
        }


def export_model(
    model: str | Path,
    dataset: str | Path,
    output: str | Path,
    *,
    golden: str | Path,
    card: str | Path,
    evaluation: Mapping[str, Any] | None = None,
) -> ExportedModel:
    """Export a trained model, whole or not at all.

    Args:
        model: The folder of a trained model.
        dataset: Gives the rows of requests.
        output: Becomes the SavedModel folder.
        golden: A JSON-lines file of requests with the Keras model's own answers.
        card: A Markdown file.
        evaluation: Metrics by name for the card.

    Returns:
        The folder, its signatures, how exactly it answers like the Keras model, and its size.

    Raises:
        InvalidData: `model` or `dataset` is not there.
        InvalidModule: The exported graph answers differently from the Keras model, or needs Python to run.
        UserCodeError: `preprocess` cannot become part of a graph.
    """
    return call_beside_its_keras(
        Path(model) / MODULE_FOLDER,
        _export,
        Path(model),
        Path(dataset),
        Path(output),
        golden=Path(golden),
        card=Path(card),
        evaluation=evaluation or {},
    )


def _export(
    model: Path, dataset: Path, output: Path, *, golden: Path, card: Path, evaluation: Mapping[str, Any]
) -> ExportedModel:
    trained = TrainedModel.load(model)
    builder = SignatureBuilder(trained)
    signatures = builder.signatures()
    requests = make_requests(trained, dataset)
    with whole_folder(output, marker=SAVED_MODEL_FILE) as folder:
        write_archive(trained.model, signatures, builder.tables, folder)
        assets = assets_folder(folder)
        assets.mkdir()
        trained.schema.save(assets)
        write_warmup(requests, assets)
        verified = verify_export(folder, trained, dataset, requests)
        logger.info(
            "exported %d signatures; over %d rows the answers differ from Keras by at most %.2g",
            len(signatures),
            verified.rows,
            verified.largest_difference,
        )
        size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        write_whole(golden, "".join(f"{request.to_json()}\n" for request in requests))
        write_whole(card, write_card(trained, requests, verified=verified, evaluation=evaluation))
    return ExportedModel(
        folder=output,
        signatures=tuple(signature.name for signature in signatures),
        verified=verified,
        size_bytes=size_bytes,
        golden_requests=len(requests),
    )
