"""The page shows what the statistics say, with plots, and works without a network."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainwright_components.prepare_data.prepare import PreparedData, prepare_data

Prepare = Callable[..., PreparedData]


@pytest.fixture(scope="module")
def page(patients: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    from trainwright_components.prepare_data.settings import PrepareSettings

    folder = tmp_path_factory.mktemp("page")
    patients.to_csv(folder / "visits.csv", index=False)
    settings = PrepareSettings(label="outcome", time_column="visited", exclude=("patient",))
    return prepare_data(folder / "visits.csv", folder / "dataset", settings).draw_report().html()


def cells(page: str, first: str) -> list[str]:
    row = re.search(rf"<tr><td[^>]*>{first}</td>.*?</tr>", page)
    assert row, f"no row {first}"
    return re.findall(r"<td[^>]*>(.*?)</td>", row.group())


def test_splits_and_how_they_came_about_are_told(page: str) -> None:
    assert cells(page, "validation") == ["validation", "90", "15.0 %"]
    assert "Rows were split by time: the latest by &#39;visited&#39; are the test." in page


def test_numbers_are_those_of_the_training_rows(page: str, patients: pd.DataFrame) -> None:
    train = patients[:420]
    assert cells(page, "dose")[4:9] == [
        f"{value:.6g}"
        for value in np.array(
            [
                train["dose"].mean(),
                train["dose"].std(ddof=0),
                train["dose"].min(),
                train["dose"].median(),
                train["dose"].max(),
            ]
        )
    ]
    assert cells(page, "age")[3] == "39 (9.3 %)"
    top = train["ward"].value_counts()
    assert cells(page, "ward")[-1].startswith(f"3: {top.index[0]} ({top.iloc[0]})")
    classes = train["outcome"].value_counts()
    assert cells(page, "worse")[1] == str(classes["worse"])


def test_it_has_plots_and_needs_no_network(page: str) -> None:
    assert page.count("<svg") == 2
    assert not re.search(r"(src|href)=[\"']https?:", page)


def test_digits_are_shown(digits_dataset: Path, tmp_path: Path) -> None:
    html = prepare_data("digits", tmp_path / "dataset").draw_report().html()
    assert html.count("<image") == 10


def test_many_features_are_listed_but_not_all_drawn(prepare: Prepare) -> None:
    table = pd.DataFrame({f"x{i}": np.arange(40.0) * i + 0.5 for i in range(30)} | {"y": ["a", "b"] * 20})
    html = prepare(table, label="y").draw_report().html()
    assert "6 more features are in the table but not drawn." in html


def test_names_with_markup_stay_text(prepare: Prepare) -> None:
    table = pd.DataFrame({"<b>$x$": np.arange(40.0), "c": ["<i>$a", "b_{"] * 20, "y": ["$p$", "<q>"] * 20})
    html = prepare(table, label="y").draw_report().html()
    assert "<b>" not in html
    assert "<i>" not in html
