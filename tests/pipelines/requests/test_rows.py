"""Rows to ask a served model about keep the digits of long ids."""

from pathlib import Path

from trainwright_components.datasets.schema import Feature, Schema
from trainwright_pipelines.requests.rows import fit_rows, parse_rows, read_rows_file

LONG = 2**64 - 1
SCHEMA = Schema(
    features=(
        Feature(name="id", kind="categorical", dtype="string", vocabulary=(str(LONG),)),
        Feature(name="x", kind="numeric", dtype="float32"),
    )
)
ROW = {"id": str(LONG), "x": 1.5}


def test_a_long_id_is_sent_with_all_its_digits(tmp_path: Path) -> None:
    text = f'{{"id": {LONG}, "x": 1.5}}'
    assert fit_rows(parse_rows(text), SCHEMA) == [ROW]
    (tmp_path / "rows.csv").write_text(f"id,x\n{LONG},1.5\n{LONG},1.5\n")
    (tmp_path / "rows.jsonl").write_text(f"{text}\n{text}\n")
    for name in ("rows.csv", "rows.jsonl"):
        assert read_rows_file(str(tmp_path / name), schema=SCHEMA) == [ROW, ROW]
