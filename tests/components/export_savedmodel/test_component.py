"""What the KFP half records."""

from pathlib import Path

from kfp import dsl

from trainwright_components.export_savedmodel.component import export_savedmodel


def test_records_where_the_parts_are_and_how_near_the_answers(
    digits_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    saved_model = dsl.Model(uri=str(tmp_path / "saved_model"))
    export_savedmodel.python_func(
        model=dsl.Model(uri=str(digits_model)),
        dataset=dsl.Dataset(uri=str(digits_dataset)),
        saved_model=saved_model,
        golden_requests=dsl.Artifact(uri=str(tmp_path / "golden")),
        model_card=dsl.Markdown(uri=str(tmp_path / "card")),
        scores={"accuracy": 0.9, "accuracy of the baseline majority class": 0.1},
    )
    assert (tmp_path / "saved_model" / "saved_model.pb").is_file()
    assert (tmp_path / "card").read_text().startswith("# digits")
    assert "| accuracy of the baseline majority class | 0.1 | evaluation |" in (tmp_path / "card").read_text()
    assert saved_model.metadata["golden_requests"] == len((tmp_path / "golden").read_text().splitlines())
    assert saved_model.metadata["largest_difference"] < 1e-5
    assert saved_model.metadata["signatures"][0] == "serving_default"
