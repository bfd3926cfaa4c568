"""ARFF, which SciPy reads too, and its relative of KEEL."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import arff

from trainwright_components.datasets.describe import describe_table
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.sources.csv_files import CsvFiles
from trainwright_components.errors import InvalidData

WEATHER = """% made by hand
@RELATION weather

@ATTRIBUTE outlook {sunny, rain}
@attribute 'temp (C)' numeric
@attribute code {1,2,3}
@attribute windy\t{TRUE, FALSE}

@DATA
sunny, 21.5, 1, TRUE
rain, ?, 3,FALSE
rain,-3e0,2, TRUE
"""
KEEL = """@relation iris
@attribute SepalLength real [4.3, 7.9]
@attribute Kind {setosa, virginica}
@attribute Width integer[1,9]
@inputs SepalLength, Width
@outputs Kind
@data
5.1, setosa, 3
4.9, virginica, 2
6.1, setosa, 3
6.9, virginica, 2
"""


def read(file: Path) -> dict[str, list[str]]:
    [chunk] = CsvFiles([str(file)]).chunks()
    return {name: column.tolist() for name, column in chunk.columns.items()}


def test_it_is_read_as_scipy_reads_it(tmp_path: Path) -> None:
    (tmp_path / "weather.arff").write_text(WEATHER)
    found = read(tmp_path / "weather.arff")
    rows, meta = arff.loadarff(tmp_path / "weather.arff")
    assert list(found) == meta.names()
    for name in ("outlook", "code", "windy"):
        assert found[name] == [value.decode() for value in rows[name]]
    np.testing.assert_array_equal([float(value or "nan") for value in found["temp (C)"]], rows["temp (C)"])
    assert CsvFiles([str(tmp_path / "weather.arff")]).traits.kinds == dict.fromkeys(
        ("outlook", "code", "windy"), "categorical"
    )


def test_comments_between_rows_are_no_rows(tmp_path: Path) -> None:
    rows = ["% before, the, rows, 1", "sunny,1,2,TRUE", "%,,,", "", "rain,2,1,FALSE", "%", "% last"]
    header = WEATHER.partition("sunny, 21.5")[0]
    (tmp_path / "weather.arff").write_text(header + "\n".join(rows))
    found = read(tmp_path / "weather.arff")
    expected, _ = arff.loadarff(tmp_path / "weather.arff")
    assert found["outlook"] == [value.decode() for value in expected["outlook"]] == ["sunny", "rain"]
    assert [float(value) for value in found["temp (C)"]] == expected["temp (C)"].tolist() == [1, 2]
    (tmp_path / "weather.arff").write_text(header + "\n  % 2, 3, 4, 5\n".join(rows))  # Weka's comments may be indented
    assert read(tmp_path / "weather.arff") == found


def test_keels_files_say_what_to_predict(tmp_path: Path) -> None:
    (tmp_path / "iris.dat").write_text(KEEL)
    schema = describe_table(tmp_path / "iris.dat", Roles(), format_name="csv").schema
    assert [(each.name, each.kind) for each in schema.features] == [("SepalLength", "numeric"), ("Width", "numeric")]
    assert schema.label is not None
    assert (schema.label.name, schema.class_names) == ("Kind", ("setosa", "virginica"))


def test_quotes_within_quotes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "rows.arff").write_text("@relation r\n@attribute t string\n@attribute n real\n@data\n'it\\'s, so', 1\n")
    assert read(tmp_path / "rows.arff") == {"t": ["it's, so"], "n": ["1"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@relation r\n@attribute x real\n@data\n{0 1}\n", "rows.arff is a sparse ARFF file; write all values"),
        ("@relation r\n@attribute x real\n", "no line @data follows its attributes"),
        ("@relation r\n@attribute bag relational\n@data\n", "line 2: 'relational' is no type of a column"),
        ("@relation r\n@attribute x real\n@data\n1\n2,3\n", "row 2: 2 values where there are 1 columns"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.arff").write_text(text)
    with pytest.raises(InvalidData, match=message):
        read(tmp_path / "rows.arff")
