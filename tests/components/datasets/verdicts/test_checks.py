"""What is said and what is not: tables that would fool a check, and numbers from other sources."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.components.datasets.verdicts.tables import ROWS, healthy, kinds, verdicts_on

from trainwright_components.datasets.chunks import Chunk
from trainwright_components.datasets.hashing import row_fractions
from trainwright_components.datasets.verdicts.drift import number_drift, text_drift
from trainwright_components.datasets.verdicts.leaks import class_skill
from trainwright_components.datasets.verdicts.oddities import find_far
from trainwright_components.datasets.verdicts.sample import EqualRows, RowSample
from trainwright_components.datasets.verdicts.verdict import Advice, Verdict

RANDOM = np.random.default_rng(3)
COUNTED = np.arange(ROWS)
SHUFFLED = RANDOM.permutation(ROWS)
SOLD = (healthy()["x"] * 100).round() + RANDOM.integers(0, 50, ROWS)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (COUNTED, "row index"),
        (COUNTED + 1, "row index"),
        (COUNTED + 1.0, "row index"),
        (SHUFFLED, "row index"),
        (1_000 - COUNTED, "row index"),
        (10**18 + COUNTED, "unique id"),
        (COUNTED * 3 + 7, "unique id"),
        ([f"{n:05d}" for n in COUNTED], "unique id"),
        ([f"{n:032x}" for n in SHUFFLED], "unique id"),
        (20_250_000 + 100 * (1 + COUNTED % 12) + 1 + COUNTED % 28, "date or time"),
        (pd.date_range("2024-02-01", periods=ROWS).strftime("%d/%m/%Y"), "date or time"),
        (1_700_000_000 + 3_600 * COUNTED, "date or time"),
        ([4.5, 7.0] + [None] * (ROWS - 2), "nearly constant"),
        (["once"] + [None] * (ROWS - 1), "nearly constant"),
        (RANDOM.integers(0, 10**6, ROWS), None),
        (SOLD, None),
        (RANDOM.normal(size=ROWS).cumsum(), None),
        (RANDOM.integers(1_900, 2_026, ROWS), None),
        ([f"the {w} house of {v}" for w, v in zip(SHUFFLED % 9, SHUFFLED // 9, strict=True)], None),
    ],
)
def test_what_a_column_is(tmp_path: Path, column: Any, kind: str | None) -> None:
    found = [verdict for verdict in verdicts_on(healthy().assign(n=column), tmp_path) if verdict.kind != "duplicates"]
    assert kinds(found) == ([(kind, "n")] if kind else [])
    is_advised_only = kind in ("date or time", "nearly constant")
    assert [verdict.is_left_out for verdict in found] == ([not is_advised_only] if kind else [])


def test_a_text_without_blanks_between_its_words_is_no_high_cardinality(tmp_path: Path) -> None:
    words = ["很好", "不喜欢", "价格", "东西", "太差", "满意", "服务", "包装"]
    chosen = np.random.default_rng(0).integers(0, len(words), (ROWS, 6))
    texts = ["".join(words[index] for index in row) for row in chosen]
    assert verdicts_on(healthy().assign(n=texts), tmp_path) == []


@pytest.mark.parametrize(
    ("label", "advice"), [("income", "data.lags"), ("y", "as those of another time are")], ids=["number", "class"]
)
def test_rows_of_other_times_are_no_copies_to_remove(tmp_path: Path, label: str, advice: str) -> None:
    days = (pd.Timestamp("2024-02-01") + pd.to_timedelta(COUNTED, "D")).strftime("%Y-%m-%d")
    table = healthy()[["city", label]].assign(day=days)
    [found] = [each for each in verdicts_on(table, tmp_path, label, time_column="day") if each.kind == "duplicates"]
    assert advice in found.advice[0].text


@pytest.mark.parametrize(
    ("days", "label", "has_lags"),
    [(COUNTED, "income", True), (COUNTED // 2, "income", False), (SHUFFLED, "income", False), (COUNTED, "y", False)],
)
def test_lags_are_advised_for_a_number_in_the_order_of_days(
    tmp_path: Path, days: Any, label: str, has_lags: bool
) -> None:
    written = (pd.Timestamp("2024-02-01") + pd.to_timedelta(days, "D")).strftime("%Y-%m-%d")
    found = verdicts_on(healthy().assign(day=written), tmp_path, label)
    [verdict] = [each for each in found if each.kind == "date or time"]
    settings = [dict(advice.settings) for advice in verdict.advice]
    assert settings[0] == {"data.time_column": "day"}
    assert ({"data.time_column": "day", "data.lags": [1]} in settings) == has_lags


def test_the_only_feature_stays_though_it_counts_the_rows(tmp_path: Path) -> None:
    [verdict] = verdicts_on(pd.DataFrame({"n": COUNTED, "y": RANDOM.choice(["a", "b"], ROWS)}), tmp_path)
    assert (verdict.kind, verdict.is_left_out) == ("row index", False)


@pytest.mark.parametrize("rows", [12, 20, 30])
def test_nothing_is_said_of_a_small_healthy_table(tmp_path: Path, rows: int) -> None:
    found = verdicts_on(healthy()[:rows], tmp_path)
    assert {verdict.kind for verdict in found} <= {"classes with few rows"}


def test_a_leak_is_found_by_presence_sum_and_function(tmp_path: Path) -> None:
    table = healthy().assign(paid=healthy()["y"].map({"high": "cash"}))
    assert kinds(verdicts_on(table, tmp_path)) == [("leak", "paid")]
    a, b = RANDOM.integers(0, 900, (2, ROWS))
    table = healthy().assign(a=a, b=b, y=(a + b) * 1.0)
    assert kinds(verdicts_on(table, tmp_path, task="regression")) == [("leak", "a", "b")]
    table = healthy().assign(y=np.log(healthy()["income"]))
    assert kinds(verdicts_on(table, tmp_path)) == [("leak", "income")]


def test_a_good_feature_is_no_leak(tmp_path: Path) -> None:
    x = RANDOM.normal(size=ROWS)
    table = healthy().assign(x=x, y=np.where(x + RANDOM.normal(0, 0.2, ROWS) > 0, "high", "low"))
    assert verdicts_on(table, tmp_path) == []


def test_the_skill_of_a_feature_is_goodman_and_kruskals_lambda() -> None:
    """Of 100 rows 60 are of class 0; code 0 has 50 of them and 10 others: 20 errors of 40 are left, or lambda 1/2."""
    codes, classes = np.repeat([0, 0, 1, 1], [50, 10, 10, 30]), np.repeat([0, 1, 0, 1], [50, 10, 10, 30])
    assert class_skill(codes, classes) == (pytest.approx(0.5), pytest.approx(0.8), pytest.approx(0.6))


def test_drift_of_numbers_is_that_of_scipy() -> None:
    one, other = RANDOM.normal(size=900), RANDOM.normal(0.3, 1, 400)
    expected = stats.ks_2samp(one, other, method="asymp")
    assert number_drift(one, other) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue, rel=0.2))


def test_drift_of_texts_is_that_of_scipy() -> None:
    one, other = {"a": 120, "b": 60, "c": 20}, {"a": 40, "b": 50, "c": 10}
    distance, chance = text_drift(one, other)
    assert distance == pytest.approx(0.2)  # half of |.6 - .4| + |.3 - .5| + |.1 - .1|
    table = [[120, 60, 20], [40, 50, 10]]
    assert chance == pytest.approx(stats.chi2_contingency(table).pvalue, rel=0.1)


def test_a_slip_is_far_and_a_heavy_tail_is_not() -> None:
    ages, incomes = RANDOM.integers(18, 90, 1_000).astype(float), RANDOM.lognormal(8, 2, 5_000)
    assert find_far(ages, 18, 99_999_999) == (99_999_999,)
    assert find_far(incomes, incomes.min(), incomes.max()) == ()
    sparse = np.where(RANDOM.random(5_000) < 0.03, RANDOM.integers(1, 255, 5_000), 0)
    assert find_far(sparse.astype(float), 0, 255) == ()


def test_the_sample_of_rows_is_whole_rows_of_all_of_the_stream() -> None:
    sample = RowSample()
    for start in range(0, 50_000, 1_000):
        x = np.arange(start, start + 1_000)
        sample.add(Chunk(columns={"x": x, "t": x.astype(str).astype(object)}, origin="o", first_row=start + 1))
    rows, columns = sample.result()
    assert len(rows) == 8_192
    assert (columns["x"] == rows - 1).all()
    assert (columns["t"].astype(int) == columns["x"]).all()
    assert columns["x"].mean() == pytest.approx(25_000, rel=0.03)


@pytest.mark.parametrize(("different", "limit"), [(1_000, 16_384), (30_000, 4_096)])
def test_equal_rows_are_counted_within_a_few_percent(different: int, limit: int) -> None:
    """Each row twice, a tenth of the copies with another label."""
    equal = EqualRows(label="y", limit=limit)
    for copy in range(2):
        x = np.arange(different)
        chunk = Chunk(columns={"x": x, "z": x % 7, "y": copy * (x % 10 == 0)}, origin="o")
        equal.add(chunk, row_fractions(chunk, seed=0, ignored={"y"}))
    found = equal.result()
    assert found.is_exact == (different < limit)
    assert found.repeated / found.rows == pytest.approx(0.5, abs=0.01)
    assert found.conflicting / found.rows == pytest.approx(0.05, abs=0.01)


def test_several_labels_are_judged_one_by_one(tmp_path: Path) -> None:
    table = healthy().drop(columns="y")
    yes = RANDOM.integers(0, 2, ROWS)
    table = table.assign(known=np.where(yes, "p", "q"), a=yes, b=(COUNTED % 25 == 3) * 1, c=(COUNTED % 12 == 3) * 1)
    found = {each.kind: each for each in verdicts_on(table, tmp_path, labels=["a", "b", "c"])}
    assert found.keys() == {"leak", "classes with few rows", "imbalance"}
    assert (found["leak"].columns, found["leak"].advice[0].settings) == (("known",), {"data.exclude": ["known"]})
    assert found["leak"].finding.startswith("of label 'a': each of its values stands for one class")
    assert found["classes with few rows"].columns == ("b",)
    assert "'b' (16)" in found["classes with few rows"].finding
    assert found["imbalance"].columns == ("b", "c")
    assert "'b' (4.0%), 'c' (8.5%) of the rows" in found["imbalance"].finding  # 16 and 34 of 400


def test_a_copy_of_one_of_several_numbers_is_a_leak(tmp_path: Path) -> None:
    table = healthy().drop(columns="y")
    first, second = RANDOM.normal(size=(2, ROWS)).round(6)
    table = table.assign(copy=(3 * second + 1).round(6), first=first, second=second)
    [leak] = verdicts_on(table, tmp_path, labels=["first", "second"])
    assert (leak.kind, leak.columns) == ("leak", ("copy",))
    assert leak.finding == "of label 'second': it is the label times a number, plus a number"


def test_the_sentence_of_a_verdict_has_the_names_of_columns_as_they_are() -> None:
    advice = Advice(text="leave it out", settings={"data.exclude": ["PassengerId"]})
    said = str(Verdict(kind="unique id", finding="it names rows", columns=("PassengerId",), advice=(advice,)))
    assert said == ("unique id 'PassengerId': it names rows. Leave it out: --set 'data.exclude=[\"PassengerId\"]'")
