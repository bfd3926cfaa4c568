"""Statistics gathered chunk by chunk are those of numpy on the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainwright_components.datasets.accumulate import (
    DistinctCounter,
    NumberAccumulator,
    Sample,
    TextAccumulator,
    ValueAccumulator,
)
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidSetting


@pytest.mark.parametrize("chunk_rows", [1, 7, 1_000])
def test_moments_do_not_depend_on_the_chunks(chunk_rows: int) -> None:
    values = np.random.default_rng(0).normal(1e6, 2.0, 1_000).astype(np.float32)
    values[::10] = np.nan
    accumulator = NumberAccumulator()
    for start in range(0, len(values), chunk_rows):
        accumulator.add(values[start : start + chunk_rows])
    result = accumulator.result()
    exact = values[~np.isnan(values)].astype(np.float64)
    assert (result.count, result.missing) == (900, 100)
    assert (result.mean, result.std) == (pytest.approx(exact.mean()), pytest.approx(exact.std(), rel=1e-6))
    assert (result.min, result.max) == (exact.min(), exact.max())
    assert result.quantiles["0.5"] == pytest.approx(np.quantile(exact, 0.5))
    assert sum(result.histogram_counts) == 900


def test_a_row_of_an_array_counts_once_and_its_moments_are_over_all_elements() -> None:
    values = np.arange(24, dtype=np.float64).reshape(4, 2, 3)
    values[1] = np.nan
    accumulator = NumberAccumulator()
    accumulator.add(values)
    result = accumulator.result()
    assert (result.count, result.missing, result.mean) == (3, 1, pytest.approx(np.nanmean(values)))


def test_a_column_without_a_value_has_no_numbers() -> None:
    accumulator = NumberAccumulator()
    accumulator.add(np.full(5, np.nan))
    result = accumulator.result()
    assert (result.count, result.missing, result.mean, result.histogram_counts) == (0, 5, None, ())


def test_a_sample_of_a_long_stream_is_bounded_and_fair() -> None:
    sample = Sample(size=2_000)
    for start in range(0, 100_000, 1_000):
        sample.add(np.arange(start, start + 1_000, dtype=np.float64))
    assert (len(sample.values), sample.seen) == (2_000, 100_000)
    assert abs(sample.values.mean() - 49_999.5) < 4 * 100_000 / np.sqrt(12 * 2_000)


def test_texts_are_ranked_by_frequency() -> None:
    accumulator = ValueAccumulator()
    accumulator.add(np.array(["b", "a", "", "b", "c", "a", "b"], dtype=object))
    result = accumulator.result()
    assert (dict(result.values), result.missing, result.distinct) == ({"b": 3, "a": 2, "c": 1}, 1, 3)
    assert list(result.values) == ["b", "a", "c"]


def test_of_free_texts_lengths_and_words_of_several_are_kept() -> None:
    accumulator = TextAccumulator()
    accumulator.add(np.array(["a cat, a dog", "", "Dog! no cat"], dtype=object))
    accumulator.add(np.array(["the cat: the x"], dtype=object))
    result = accumulator.result()
    assert (result.count, result.missing, result.mean, result.max, dict(result.values)) == (3, 1, 37 / 3, 14, {})
    assert list(result.words.items()) == [("cat", 3), ("dog", 2), ("no", 1), ("the", 1)]


@pytest.mark.parametrize("accumulator", [ValueAccumulator, TextAccumulator])
@pytest.mark.parametrize("more", ["2024-06-31", "2024-06", "soon", "20240603"])
def test_days_are_kept_while_every_text_is_a_date(accumulator: Any, more: str) -> None:
    of_dates, of_others = accumulator(), accumulator()
    for each in (of_dates, of_others):
        each.add(np.array(["1970-01-02", "", "1970-01-04T10:00"], object))
    assert of_dates.result().days == {"mean": 2, "std": 1}
    of_others.add(np.array([more], object))
    assert of_others.result().days == {}


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["3/1/1970", "13/1/1970 9:30"], "day-month-year"),
        (["1/3/1970", "1/13/1970"], "month-day-year"),
        (["3.1.1970", "5.1.1970"], "day-month-year"),
        (["1970/1/3", "1970/1/5 23:59:59.5"], "year-month-day"),
        (["3/1/1970", "5/1/1970"], ""),  # the 3rd of January, or the 1st of March
        (["31/1/1970", "1/31/1970"], ""),
        (["3/1/70", "31/1/70"], ""),
    ],
)
def test_the_order_of_dates_is_the_only_one_that_all_texts_have(texts: list[str], order: str) -> None:
    accumulator = ValueAccumulator()
    accumulator.add(np.array(texts[:1], object))
    accumulator.add(np.array(texts[1:], object))
    result = accumulator.result()
    assert result.date_order == order
    days = {"3/1/1970": (2, 12), "1/3/1970": (2, 12), "3.1.1970": (2, 4), "1970/1/3": (2, 4)}[texts[0]] if order else ()
    assert result.days == ({"mean": np.mean(days), "std": np.std(days)} if order else {})


def test_texts_without_a_word_in_common_have_no_words() -> None:
    accumulator = TextAccumulator()
    accumulator.add(np.array(["id 1234", "key 1235"], dtype=object))
    assert accumulator.result().words == {}


def test_statistics_are_the_same_after_reading_them_again(tabular_dataset: Path, tmp_path: Path) -> None:
    statistics = Statistics.load(tabular_dataset)
    statistics.save(tmp_path)
    assert Statistics.load(tmp_path) == statistics


def test_an_unknown_split_or_column_is_corrected(tabular_dataset: Path) -> None:
    statistics = Statistics.load(tabular_dataset)
    with pytest.raises(InvalidSetting, match="no split 'valid'; did you mean 'validation'"):
        statistics.split("valid")
    with pytest.raises(InvalidSetting, match="no column is called 'alchol'; did you mean 'alcohol'"):
        statistics.split("train").column("alchol")


@pytest.mark.parametrize(("different", "tolerance"), [(0, 0), (500, 0), (999, 0), (1_000, 0.1), (60_000, 0.1)])
def test_different_numbers_are_counted_in_bounded_memory(different: int, tolerance: float) -> None:
    """Three standard errors of 1,000 kept numbers."""
    numbers = np.random.default_rng(1).random(different)
    stream = np.random.default_rng(2).permutation(np.concatenate([numbers, numbers[::2], np.repeat(numbers[:1], 900)]))
    counter = DistinctCounter(1_000)
    for start in range(0, len(stream), 77):
        counter.add(stream[start : start + 77])
    assert counter.result() == pytest.approx(different, rel=tolerance, abs=0)
