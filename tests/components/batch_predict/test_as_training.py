"""Rows are scored as training read its own, however few they are."""

import json
from pathlib import Path

import pytest
import tensorflow as tf

from trainwright_components.batch_predict.predict import predict_rows
from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.sources.dialect import DialectOptions
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.prepare_data.prepare import prepare_data
from trainwright_pipelines.requests.rows import read_rows_file


def test_rows_without_a_header_and_with_decimal_commas(tmp_path: Path) -> None:
    rows = [f"{n}.000,{n % 10};{n % 7},5 %;{'NA' if n % 3 else 'DE'};{n}\n" for n in range(1, 61)]
    (tmp_path / "train.txt").write_text("".join(rows))
    (tmp_path / "test.txt").write_text("2.500;1,5 %;NA;3\n")  # alone it would be 2.5, and NA missing
    settings = {"label": "column_4", "task": "regression", "test_source": str(tmp_path / "test.txt")}
    prepared = prepare_data(tmp_path / "train.txt", tmp_path / "dataset", {**settings, "missing": ["-"]})
    assert prepared.statistics.split("test").column("column_1").mean == 2_500

    class Model(tf.Module):
        @tf.function(
            input_signature=[
                {each.name: tf.TensorSpec([None], each.dtype, name=each.name) for each in prepared.schema.features}
            ]
        )
        def serve(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            no_land = tf.where(features["column_3"] == "NA", 0.25, 0.0)
            return {"y": features["column_1"] + features["column_2"] + no_land}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.serve)
    (tmp_path / "model" / "assets.extra").mkdir()
    Schema.load(tmp_path / "dataset").save(tmp_path / "model" / "assets.extra")
    (tmp_path / "new.txt").write_text("1.000;1,5 %;NA\n2.000,5;2 %;DE\n-;1 %;FR\n")
    scored = predict_rows(tmp_path / "model", tmp_path / "new.txt", tmp_path / "out")
    answers = [json.loads(line)["prediction"] for line in scored.file.read_text().splitlines()]
    assert answers == [1001.75, 2002.5, None]
    first, second, _ = read_rows_file(str(tmp_path / "new.txt"), schema=prepared.schema)
    assert first == {"column_1": 1000, "column_2": 1.5, "column_3": "NA"}
    assert second == {"column_1": 2000.5, "column_2": 2, "column_3": "DE"}
    (tmp_path / "late.txt").write_bytes("A;B;C\n1.000|1,5 %|Zürich\n".encode("cp1252"))
    with pytest.raises(
        InvalidData, match=r"late\.txt, .*byte 0xfc is not UTF-8; .*, say encoding=cp1252, else another"
    ):
        predict_rows(tmp_path / "model", tmp_path / "late.txt", tmp_path / "late")
    (tmp_path / "late.txt").write_bytes("1.000~1,5 %~Zürich\n".encode("cp1252"))
    written = {"encoding": "cp1252", "delimiter": "~", "header": "no"}
    scored = predict_rows(tmp_path / "model", tmp_path / "late.txt", tmp_path / "late", written)
    assert json.loads(scored.file.read_text())["prediction"] == 1001.5
    dialect = DialectOptions(**written, said_by="--")
    [row] = read_rows_file(str(tmp_path / "late.txt"), schema=prepared.schema, dialect=dialect)
    assert row == {"column_1": 1000, "column_2": 1.5, "column_3": "Zürich"}
    with pytest.raises(InvalidSetting, match=r"^encoding 'utf-99' is not known"):
        predict_rows(tmp_path / "model", tmp_path / "late.txt", tmp_path / "late", {"encoding": "utf-99"})
