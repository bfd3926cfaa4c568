"""A table is described without TensorFlow, as prepare_data would find it."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainwright_components.datasets.describe import describe_table
from trainwright_components.datasets.infer import Roles
from trainwright_components.datasets.schema import Schema
from trainwright_components.errors import InvalidSetting


def test_the_description_is_what_preparing_finds(tabular_csv: Path, tabular_dataset: Path) -> None:
    assert describe_table(tabular_csv, Roles(label="cultivar")).schema == Schema.load(tabular_dataset)


def test_describing_imports_no_tensorflow(tabular_csv: Path) -> None:
    code = (
        "import sys\nsys.modules['tensorflow'] = None\n"
        "from trainwright_components.datasets.describe import describe_table\n"
        "from trainwright_components.datasets.infer import Roles\n"
        f"print(describe_table({str(tabular_csv)!r}, Roles(label='cultivar')).schema.class_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('class_0', 'class_1', 'class_2')"


def test_a_label_of_a_table_read_as_one_column_tells_of_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("age   place  div\n9   12-15 years  No\n11   < 12 years  No\n")
    with pytest.raises(InvalidSetting, match=r"'div', which .*; each row has one column, '.*'; data\.delimiter says"):
        describe_table(tmp_path / "table.csv", Roles(label="div"))


def test_a_misspelt_label_is_corrected(tabular_csv: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"label names the column 'cultivr'.*did you mean 'cultivar'"):
        describe_table(tabular_csv, Roles(label="cultivr"))
