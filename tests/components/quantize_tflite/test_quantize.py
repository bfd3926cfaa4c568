"""TFLite models of real models: their answers, their sizes, and the choice within a budget."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from trainwright_components.datasets.reader import read_split, sample_split
from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.datasets.task import Task
from trainwright_components.datasets.writer import DatasetWriter
from trainwright_components.errors import BudgetExceeded, InvalidModule, InvalidSetting
from trainwright_components.quantize_tflite import measure
from trainwright_components.quantize_tflite.budget import Budget
from trainwright_components.quantize_tflite.convert import MODES, ConversionFailed, choose_modes, convert
from trainwright_components.quantize_tflite.page import build_report
from trainwright_components.quantize_tflite.quantize import ModeResult, Quantization, quantize_model
from trainwright_components.quantize_tflite.settings import QuantizationSettings
from trainwright_components.quantize_tflite.source import open_source

ROWS = 60

# LiteRT 2.3 and the converter of TensorFlow 2.21 share no fault of ours; each warns once per process.
pytestmark = pytest.mark.filterwarnings("default:.*tf.lite.Interpreter is deprecated:UserWarning")


@pytest.fixture(scope="session")
def digits_tflite(
    digits_saved_model: Path, digits_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Quantization, Path]:
    output = tmp_path_factory.mktemp("tflite") / "model"
    settings = QuantizationSettings(max_rows=ROWS, calibration_rows=50)
    return quantize_model(digits_saved_model, digits_dataset, output, settings=settings), output


def ask(file: Path, **inputs: Any) -> np.ndarray:
    runner = Interpreter(model_path=str(file)).get_signature_runner("serving_default")
    (answer,) = runner(**inputs).values()
    return np.asarray(answer)


def size_of(result: ModeResult) -> int:
    assert result.size_bytes is not None
    return result.size_bytes


def error_of(measured: measure.Measurement | None) -> float:
    assert measured is not None
    assert measured.max_abs_error is not None
    return measured.max_abs_error


def test_every_mode_is_measured(digits_tflite: tuple[Quantization, Path]) -> None:
    quantization, _ = digits_tflite
    results = {result.mode: result for result in quantization.modes}
    assert set(results) == set(MODES)
    sizes = {mode: size_of(result) for mode, result in results.items()}
    assert max(sizes["int8"], sizes["dynamic_range"]) < sizes["float16"] < sizes["float32"]
    for result in results.values():
        assert result.measured is not None
        assert result.measured.rows == ROWS
        assert 0 < result.measured.p50_ms <= result.measured.p90_ms < 100
        assert result.measured.agreement > 0.9


def test_the_float_mode_gives_the_saved_models_answers(digits_tflite: tuple[Quantization, Path]) -> None:
    quantization, _ = digits_tflite
    (exact,) = (result.measured for result in quantization.modes if result.mode == "float32")
    assert exact is not None
    assert error_of(exact) < 1e-5
    assert (exact.agreement, exact.score_drop, exact.score) == (1.0, 0.0, quantization.float_score)


def test_the_file_holds_what_was_chosen_and_measured(
    digits_tflite: tuple[Quantization, Path], digits_saved_model: Path, digits_dataset: Path
) -> None:
    quantization, file = digits_tflite
    chosen = quantization.chosen
    assert chosen is not None
    assert chosen.measured is not None
    assert file.stat().st_size == chosen.size_bytes == min(map(size_of, quantization.modes))
    features, labels = next(iter(sample_split(digits_dataset, "test", ROWS).batch(ROWS)))
    answers = np.concatenate([ask(file, image=row[None]) for row in features["image"].numpy()])
    model = tf.saved_model.load(str(digits_saved_model))
    reference = model.signatures["serving_default"](**features)["probabilities"].numpy()
    assert chosen.measured.score == pytest.approx((answers.argmax(axis=1) == labels.numpy()).mean())
    assert chosen.measured.agreement == pytest.approx((answers.argmax(axis=1) == reference.argmax(axis=1)).mean())
    assert chosen.measured.max_abs_error == pytest.approx(np.abs(answers - reference).max(), abs=1e-6)
    assert chosen.measured.mean_abs_error == pytest.approx(np.abs(answers - reference).mean(), abs=1e-6)


def test_metadata_says_how_to_use_the_file(digits_tflite: tuple[Quantization, Path]) -> None:
    quantization, file = digits_tflite
    metadata = quantization.metadata
    assert metadata["size_bytes"] == file.stat().st_size
    assert metadata["takes_raw_features"] is True
    assert metadata["input_names"] == {"image": "image"}
    assert metadata["class_names"] == list("0123456789")
    assert quantization.metrics["size_bytes"] == file.stat().st_size
    assert quantization.metrics["float_accuracy"] == quantization.float_score


def test_the_page_has_a_row_per_mode_and_a_plot(digits_tflite: tuple[Quantization, Path]) -> None:
    page = build_report(digits_tflite[0]).html()
    assert all(f"<td>{mode}</td>" in page for mode in MODES)
    assert "<svg" in page
    assert "preprocessing is inside" in page


def test_strings_leave_preprocessing_to_the_caller(
    tabular_saved_model: Path, tabular_dataset: Path, tmp_path: Path
) -> None:
    settings = QuantizationSettings(modes=("float32", "int8", "int16x8"))
    quantization = quantize_model(tabular_saved_model, tabular_dataset, tmp_path / "model", settings=settings)
    assert not quantization.takes_raw_features
    assert tuple(quantization.input_names) == ("numbers", "strength")
    exact = quantization.modes[0].measured
    assert exact is not None
    assert error_of(exact) < 1e-5
    assert quantization.modes[1].measured is not None
    assert quantization.modes[1].measured.agreement > 0.9
    assert "calibration" in quantization.modes[2].failure  # int16x8 has no 64-bit inputs
    assert quantization.chosen is quantization.modes[0]
    page = build_report(quantization).html()
    assert "the caller has to do it" in page
    assert "cannot be converted: Max and min for dynamic tensors" in page


@pytest.mark.parametrize("has_preprocess", [False, True])
def test_a_model_that_takes_strings_itself_is_told_to_move_them_into_preprocess(
    tmp_path: Path, has_preprocess: bool
) -> None:
    """With `preprocess` the strings go through it unchanged."""

    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="note")])
        def answer(self, note: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"predictions": tf.cast(tf.strings.length(note), tf.float32)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="note")])
        def lower(self, note: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"note": tf.strings.lower(note)}

    model = Lengths()
    more = {"preprocess": model.lower, "preprocessed": model.answer} if has_preprocess else {}
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.answer, **more})
    with pytest.raises(
        InvalidModule,
        match=r"takes strings.*TextVectorization.*module's preprocess.*or set quantization\.enabled=false",
    ):
        open_source(tmp_path / "model")


def test_a_regression_is_scored_by_r2(regression_saved_model: Path, regression_dataset: Path, tmp_path: Path) -> None:
    settings = QuantizationSettings(modes=("float32", "dynamic_range"))
    quantization = quantize_model(regression_saved_model, regression_dataset, tmp_path / "model", settings=settings)
    features, labels = next(iter(read_split(regression_dataset, "test").batch(1000)))
    model = tf.saved_model.load(str(regression_saved_model))
    reference = model.signatures["serving_default"](**features)["predictions"].numpy()
    from sklearn.metrics import r2_score

    assert quantization.metrics["float_r2"] == pytest.approx(r2_score(labels.numpy(), reference), rel=1e-5)
    exact = quantization.modes[0].measured
    assert exact is not None
    assert (exact.agreement, exact.score_drop) == pytest.approx((1.0, 0.0), abs=1e-6)


def test_any_number_of_rows_at_a_time(digits_saved_model: Path, digits_dataset: Path, tmp_path: Path) -> None:
    settings = QuantizationSettings(modes=("float32",), max_rows=40, dynamic_batch=True)
    quantization = quantize_model(digits_saved_model, digits_dataset, tmp_path / "model", settings=settings)
    assert quantization.modes[0].measured is not None
    assert quantization.modes[0].measured.rows == 40
    assert error_of(quantization.modes[0].measured) < 1e-5
    interpreter = Interpreter(model_path=str(tmp_path / "model"))
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [-1, 8, 8]


def test_integer_io_takes_and_gives_integers(digits_saved_model: Path, digits_dataset: Path, tmp_path: Path) -> None:
    settings = QuantizationSettings(modes=("int8",), max_rows=ROWS, calibration_rows=50, integer_io=True)
    quantization = quantize_model(digits_saved_model, digits_dataset, tmp_path / "model", settings=settings)
    interpreter = Interpreter(model_path=str(tmp_path / "model"))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [detail["dtype"] for detail in details] == [np.int8, np.int8]
    assert quantization.modes[0].measured is not None
    assert quantization.modes[0].measured.agreement > 0.9


@pytest.fixture(scope="module")
def ascending(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A line as a SavedModel, and 4,000 rows a split in ascending order, whose labels are on it where x < 0."""
    folder = tmp_path_factory.mktemp("ascending")
    weight = tf.Variable([[2.0]])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"predictions": (x[:, None] @ weight)[:, 0] + 1.0}

    holder = tf.Module()
    holder.weight = weight
    tf.saved_model.save(holder, str(folder / "saved_model"), signatures={"serving_default": answer})
    schema = Schema(
        features=(Feature(name="x", kind="numeric", dtype="float32"),),
        label=Label(name="y", kind="number", dtype="float32"),
    )
    (folder / "dataset").mkdir()
    x = np.linspace(-1, 1, 4_000, dtype=np.float32)
    with DatasetWriter(folder / "dataset", schema, shards={"train": 1, "test": 1}) as writer:
        for split in ("train", "test"):
            writer.write(split, {"x": x, "y": np.where(x < 0, 2 * x + 1, 5)})
    return folder / "saved_model", folder / "dataset"


def test_rows_for_calibration_and_comparison_are_drawn_from_all_of_a_sorted_split(
    ascending: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = QuantizationSettings(modes=("int8",), max_rows=100, calibration_rows=50)
    quantization = quantize_model(*ascending, tmp_path / "model", settings=settings)
    measured = quantization.modes[0].measured
    assert measured is not None
    assert measured.rows == 100
    assert error_of(measured) < 0.1
    runner = Interpreter(model_path=str(tmp_path / "model")).get_signature_runner("serving_default")
    ends = [float(runner(x=np.array([x], np.float32))["predictions"][0]) for x in (-1.0, 0.0, 1.0)]
    assert ends == pytest.approx([-1, 1, 3], abs=0.1)


def test_scoring_that_stops_early_has_seen_all_parts_of_a_sorted_split(
    ascending: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "MAX_SCORING_S", 0.0)
    settings = QuantizationSettings(modes=("float32",), max_rows=1_000, dynamic_batch=True)
    quantization = quantize_model(*ascending, tmp_path / "model", settings=settings)
    measured = quantization.modes[0].measured
    assert measured is not None
    assert measured.rows == 32
    assert quantization.float_score == pytest.approx(1 - (14 / 3) / (25 / 4 + 1 / 6), abs=0.01)
    assert measured.score == pytest.approx(quantization.float_score, abs=0.2)


def numbers(folder: Path, labels: np.ndarray, x: np.ndarray) -> Path:
    """A dataset of rows `x` with numbers as labels."""
    schema = Schema(
        features=(Feature(name="x", kind="numeric", dtype="float32", shape=x.shape[1:]),),
        label=Label(name="y", kind="number", dtype="float32"),
    )
    folder.mkdir()
    with DatasetWriter(folder, schema, shards={"train": 1, "test": 1}) as writer:
        for split in ("train", "test"):
            writer.write(split, {"x": x.astype(np.float32), "y": labels.astype(np.float32)})
    return folder


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that takes the logarithm of what is positive in float32 and negative in float16."""
    holder = tf.Module()
    holder.first = tf.Variable([[0.50024], [0.50024], [-1.00049]])
    holder.wide = tf.Variable(np.random.default_rng(0).normal(0, 1e-4, (3, 800)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def answer(x: tf.Tensor) -> dict[str, tf.Tensor]:
        total = tf.reduce_sum(x @ holder.wide, axis=1)
        return {"predictions": tf.math.log((x @ holder.first)[:, 0] + 1e-4) + total}

    folder = tmp_path_factory.mktemp("fragile") / "saved_model"
    tf.saved_model.save(holder, str(folder), signatures={"serving_default": answer})
    return folder


@pytest.mark.parametrize("budget", [{}, {"max_accuracy_drop": 0.01, "min_agreement": 0.0}])
def test_a_mode_that_answers_nan_is_within_no_budget(fragile: Path, tmp_path: Path, budget: dict[str, float]) -> None:
    random = np.random.default_rng(0)
    x = np.repeat(random.uniform(0.9, 1, (60, 1)), 3, axis=1)
    dataset = numbers(tmp_path / "data", np.log(9e-5) + 3 * random.normal(0, 1, 60), x)
    settings = QuantizationSettings(modes=("float32", "float16"), budget=Budget(**budget))
    quantization = quantize_model(fragile, dataset, tmp_path / "model", settings=settings)
    exact, half = quantization.modes
    assert exact.measured is not None
    assert half.measured is not None
    assert (exact.measured.not_finite, exact.measured.agreement) == (0, 1.0)  # the labels spread by 3
    assert (half.measured.not_finite, half.measured.score, half.measured.max_abs_error) == (60, None, None)
    assert "answers 60 of 60 rows with NaN or infinity" in half.excesses
    assert ("has no score on these rows that could be held against max_accuracy_drop 0.01" in half.excesses) == (
        "max_accuracy_drop" in budget
    )
    assert (exact.size_bytes or 0) > (half.size_bytes or 0)
    assert quantization.chosen is exact
    json.dumps([quantization.metrics, quantization.metadata], allow_nan=False)
    assert "answers 60 of 60 rows with NaN" in build_report(quantization).html()


def test_a_limit_on_a_score_that_the_labels_do_not_define_is_broken(
    ascending: tuple[Path, Path], tmp_path: Path
) -> None:
    dataset = numbers(tmp_path / "data", np.full(40, 5.0), np.linspace(-1, 1, 40))
    settings = QuantizationSettings(modes=("float32",), budget=Budget(max_accuracy_drop=0.01, min_agreement=1.0))
    quantization = quantize_model(ascending[0], dataset, tmp_path / "model", settings=settings)
    (result,) = quantization.modes
    assert result.excesses == ("has no score on these rows that could be held against max_accuracy_drop 0.01",)
    with pytest.raises(BudgetExceeded, match="float32, has no score on these rows"):
        quantization.require_budget()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_class_that_is_read_from_nan_is_wrong(bad: float) -> None:
    answers = np.array([[0.9, 0.1], [bad, 0.1], [0.2, 0.8]], np.float32)
    labels = np.array([0, 0, 1])
    assert measure.score_answers(answers, labels, None, task=Task.CLASSIFICATION) == pytest.approx(2 / 3)
    assert measure.score_answers(answers[:, 0], labels, None, task=Task.REGRESSION) is None


def test_labels_are_scored_by_micro_f1_and_agree_answer_by_answer() -> None:
    answers = np.array([[0.9, 0.1], [0.2, 0.6], [0.4, 0.8]], np.float32)
    labels = np.array([[1, 0], [1, 1], [0, 1]])
    assert measure.score_answers(answers, labels, None, task=Task.MULTILABEL) == pytest.approx(6 / 7)
    other = np.array([[0.9, 0.1], [0.7, 0.6], [0.4, np.nan]], np.float32)
    assert measure._agreement(other, answers, labels, Task.MULTILABEL) == pytest.approx(3 / 6)
    assert measure.score_answers(other, labels, None, task=Task.MULTILABEL) is None


def test_over_budget_writes_the_nearest_model_and_says_what_is_over(
    digits_saved_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    settings = QuantizationSettings(
        modes=("float32", "dynamic_range"), max_rows=20, budget=Budget(max_size_bytes=1000, max_accuracy_drop=0.5)
    )
    quantization = quantize_model(digits_saved_model, digits_dataset, tmp_path / "model", settings=settings)
    assert quantization.chosen is not None
    assert quantization.chosen.mode == "dynamic_range"
    assert (tmp_path / "model").stat().st_size == quantization.chosen.size_bytes
    assert quantization.metadata["is_within_budget"] is False
    assert "over budget" in build_report(quantization).html()
    with pytest.raises(
        BudgetExceeded, match=r"tried float32, dynamic_range\); the nearest, dynamic_range, is .* bytes"
    ):
        quantization.require_budget()


def test_the_smallest_within_the_budget_is_chosen(
    digits_saved_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    """No quantized model answers with less than this difference from 1, so the float one has to do."""
    settings = QuantizationSettings(
        modes=("dynamic_range", "float32"), max_rows=20, budget=Budget(max_size_bytes=10**6, min_agreement=1.0)
    )
    quantization = quantize_model(digits_saved_model, digits_dataset, tmp_path / "model", settings=settings)
    assert quantization.chosen is not None
    within = [result for result in quantization.modes if result.is_within_budget]
    assert quantization.chosen.size_bytes == min(result.size_bytes or 0 for result in within)
    quantization.require_budget()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modes": ("int4",)}, "modes: no mode is called 'int4'; did you mean 'int8'"),
        ({"modes": ("float_16",)}, "did you mean 'float16'"),
        ({"budget": {"max_size": 5}}, "no quantization.budget setting 'max_size'; did you mean 'max_size_bytes'"),
        ({"budget": {"max_latency_ms": "fast"}}, "quantization.budget.max_latency_ms must be a number, got 'fast'"),
        ({"budget": {"max_latency_ms": -1}}, "quantization.budget.max_latency_ms must be at least 0, got -1.0"),
        ({"budget": {"min_agreement": 99}}, "min_agreement is a share, at most 1, got 99"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"max_rows": 0}, "max_rows must be at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    settings: dict[str, Any], words: str, digits_saved_model: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match=words):
        quantize_model(
            digits_saved_model,
            digits_dataset,
            tmp_path / "model",
            settings=QuantizationSettings.from_mapping(settings),
        )


@pytest.fixture(scope="session")
def stubborn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with an operation that TFLite does not have."""
    folder = tmp_path_factory.mktemp("stubborn") / "saved_model"

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8], tf.float32, name="image")])
    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.linalg.det(image)[:, None] * tf.ones([1, 10])}

    tf.saved_model.save(holder := tf.Module(), str(folder), signatures={"serving_default": answer})
    del holder
    return folder


def test_a_mode_that_cannot_hold_the_model_is_a_row_with_its_reason(
    stubborn: Path, digits_dataset: Path, tmp_path: Path
) -> None:
    settings = QuantizationSettings(modes=("float32", "float16"), max_rows=10)
    quantization = quantize_model(stubborn, digits_dataset, tmp_path / "model", settings=settings)
    assert quantization.chosen is None
    assert not (tmp_path / "model").exists()
    assert all("MatrixDeterminant" in result.failure for result in quantization.modes)
    assert "cannot be converted" in build_report(quantization).html()
    with pytest.raises(InvalidModule, match=r"no TFLite mode can hold this model: float32: .*MatrixDeterminant"):
        quantization.require_budget()


def test_the_converter_keeps_quiet(digits_saved_model: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from trainwright_components.quantize_tflite.source import open_source

    (raw, _) = open_source(digits_saved_model)
    raw.write(tmp_path / "signature", batch_size=1)
    capfd.readouterr()
    convert(tmp_path / "signature", choose_modes(["dynamic_range"])[0], [])
    assert capfd.readouterr().err == ""
    shutil.rmtree(tmp_path / "signature")
    with pytest.raises(ConversionFailed):
        convert(tmp_path / "signature", choose_modes(["float32"])[0], [])


def test_a_folder_without_a_saved_model_is_refused(digits_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModule, match="is not a SavedModel"):
        quantize_model(tmp_path, digits_dataset, tmp_path / "model")
