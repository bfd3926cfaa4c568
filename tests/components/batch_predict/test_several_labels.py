"""Answers about several labels or targets are columns of their names."""

import json
from pathlib import Path

import numpy as np
import pytest

from trainwright_components.batch_predict.predict import PredictSettings, predict_rows
from trainwright_components.datasets.reader import read_split
from trainwright_components.training.trained_model import TrainedModel


def test_each_label_has_a_prediction_and_a_probability(
    multilabel_saved_model: Path, multilabel_model: Path, multilabel_dataset: Path, tmp_path: Path
) -> None:
    scored = predict_rows(multilabel_saved_model, multilabel_dataset, tmp_path / "out", PredictSettings(split="test"))
    rows = [json.loads(line) for line in scored.file.read_text().splitlines()]
    trained = TrainedModel.load(multilabel_model)
    features, labels = next(iter(read_split(multilabel_dataset, "test").batch(1_000)))
    logits = trained.model.predict(trained.module.preprocess(features, trained.context), verbose=0)
    for place, name in enumerate(trained.schema.value_names):
        assert [row[f"probability_{name}"] for row in rows] == pytest.approx(
            1 / (1 + np.exp(-logits[:, place])), abs=1e-5
        )
        assert [row[f"prediction_{name}"] for row in rows] == (logits[:, place] > 0).astype(int).tolist()
        assert [row[name] for row in rows] == labels[:, place].numpy().tolist()
    assert "prediction_much ash" in scored.report_html


def test_each_target_has_a_column(
    targets_saved_model: Path, several_csv: Path, targets_model: Path, tmp_path: Path
) -> None:
    scored = predict_rows(targets_saved_model, several_csv, tmp_path / "out", PredictSettings(output_format="csv"))
    header, first, *_ = scored.file.read_text().splitlines()
    assert header == "row,prediction_proline,prediction_total_phenols"
    assert 100 < float(first.split(",")[1]) < 2_000
    assert 0 < float(first.split(",")[2]) < 6
