"""`trainwright predict` and `serve status`, against a small server of the test's own."""

import base64
import io
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from trainwright_components.datasets.chunks import MISSING_TEXTS
from trainwright_components.datasets.schema import Feature, Schema
from trainwright_components.errors import InvalidData, InvalidSetting
from trainwright_components.model_server.operation.control import add_model
from trainwright_pipelines.requests.rows import fit_rows, parse_rows, read_rows_file

SCHEMA = Schema(
    features=(
        Feature(name="size", kind="numeric", dtype="float32"),
        Feature(name="rooms", kind="numeric", dtype="int64"),
        Feature(name="city", kind="categorical", dtype="string", vocabulary=("Bern",)),
    )
)


class Echo(BaseHTTPRequestHandler):
    """Answers each row with the number of its values."""

    def do_POST(self) -> None:
        """One request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_known = self.path.startswith("/v1/models/known")
        answer = {"predictions": [len(row) for row in request["instances"]]} if is_known else {"error": "no such model"}
        body = json.dumps(answer).encode()
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_image_is_a_row(tmp_path: Path) -> None:
    schema = Schema(features=(Feature(name="photo", kind="image", dtype="string"),))
    for mode, suffix, is_kept in (("L", "png", True), ("CMYK", "jpg", False)):
        file = tmp_path / f"a.{suffix.upper()}"
        Image.new(mode, (3, 2), 7).save(file)
        [row] = read_rows_file(str(file), schema=schema)
        sent = base64.b64decode(row["photo"]["b64"])
        assert (sent == file.read_bytes()) is is_kept
        assert Image.open(io.BytesIO(sent)).size == (3, 2)
    with pytest.raises(InvalidData, match="the model takes size, rooms, city"):
        read_rows_file(str(file), schema=SCHEMA)
    file.write_bytes(b"no image")
    with pytest.raises(InvalidData, match="JPG: this is not an image"):
        read_rows_file(str(file), schema=schema)


def test_a_row_is_sent_and_the_answer_printed(trainwright: Callable[..., Any], address: str) -> None:
    assert trainwright("predict", "known", '{"a": 1, "b": 2}', "--address", address).out == "2\n"
    document = json.loads(trainwright("predict", "known", "[[1, 2, 3], [4]]", "--address", address, "--json").out)
    assert document["predictions"] == [3, 1]


def test_rows_of_a_file_are_sent(trainwright: Callable[..., Any], address: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n{"a": 1, "b": 2}\n')
    assert trainwright("predict", "known", "--file", str(file), "--address", address).out == "1\n2\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["known"], "give rows in one way"),
        (["known", "{}", "--example"], "give rows in one way"),
        (["known", "{a: 1}"], "ROWS is not valid JSON"),
        (["known", "[]"], "ROWS holds no row"),
        (["known", "--file", "absent.csv"], "absent.csv cannot be read"),
        (["known", "{}"], "the model server does not run; start it: trainwright serve start"),
        (["known", "--example"], "the model server does not run; start it: trainwright serve start"),
        (["known", "{}", "--version", "7"], "model 'known' has no version 7; there is: 1"),
        (["knwon", "--example"], "no model 'knwon' was deployed here; did you mean 'known'?"),
    ],
)
def test_bad_rows_are_refused(trainwright: Callable[..., Any], home: Path, arguments: list[str], message: str) -> None:
    (home / "models" / "known" / "1").mkdir(parents=True)
    add_model(home, "known", home / "models" / "known")
    outcome = trainwright("predict", *arguments)
    assert outcome.code in {1, 2}
    assert message in outcome.err


def test_an_example_is_of_this_machines_models(trainwright: Callable[..., Any], address: str) -> None:
    assert "with --address give a row" in trainwright("predict", "known", "--example", "--address", address).err


def test_what_the_server_says_is_passed_on(trainwright: Callable[..., Any], address: str) -> None:
    outcome = trainwright("predict", "unknown", "{}", "--address", address)
    assert outcome.code == 2
    assert "no such model" in outcome.err


def test_the_status_of_a_server_that_never_ran(trainwright: Callable[..., Any]) -> None:
    assert trainwright("serve", "status").code == 3
    assert json.loads(trainwright("serve", "status", "--json").out)["is_running"] is False
    assert trainwright("serve", "stop").out == "no server was running\n"


def test_a_csv_gets_the_types_of_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("city,size,rooms,other\nBern,1.5,2,x\n")
    assert read_rows_file(str(file), schema=SCHEMA) == [{"size": 1.5, "rooms": 2, "city": "Bern"}]
    assert read_rows_file(str(file), schema=None) == [{"city": "Bern", "size": 1.5, "rooms": 2.0, "other": "x"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("city,size\nBern,1\n", "lacks rooms"),
        ("city,size,rooms\nBern,large,2\n", "row 1: column 'size' must be a number, got 'large'"),
        ("city,size,rooms\n", "holds no row"),
        ("city,size,rooms\nBern,1,NA\n", "row 1: 'rooms' has no value, which this model needs"),
        ("city,size,rooms\nBern,1,2.5\n", "row 1: column 'rooms' must be an integer from .* got 2.5"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text)
    with pytest.raises(InvalidData, match=message):
        read_rows_file(str(file), schema=SCHEMA)


@pytest.mark.parametrize(
    "text",
    ['city;size;rooms\n"Bern; BE";1,5;2\nNA;-;3\n', "# made by hand\ncity\tsize\trooms\nBern; BE\t1.5\t2\nNA\t?\t3\n"],
)
def test_a_table_is_read_as_training_reads_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text)
    first, second = read_rows_file(str(file), schema=SCHEMA)
    assert first == {"size": 1.5, "rooms": 2, "city": "Bern; BE"}
    assert math.isnan(second.pop("size"))
    assert second == {"rooms": 3, "city": ""}


def test_a_request_as_curl_sends_it_is_taken_too() -> None:
    assert parse_rows('{"instances": [{"a": 1}, {"a": 2}]}') == [{"a": 1}, {"a": 2}]


def test_missing_values_of_a_csv_are_those_of_prepare_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("city,size,rooms,label\n" + "".join(f"{text},{text},2.0,x\n" for text in sorted(MISSING_TEXTS)))
    rows = read_rows_file(str(file), schema=SCHEMA)
    assert [(row["city"], row["rooms"]) for row in rows] == [("", 2)] * len(MISSING_TEXTS)
    assert all(math.isnan(row["size"]) for row in rows)
    assert capsys.readouterr().err == f"{file}: the model does not take 'label'; ignored\n"


def test_json_rows_may_hold_null_and_columns_that_are_no_features(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"size": None, "rooms": 2, "city": None, "label": "x"}, {"size": 1, "rooms": 3, "city": "NA"}, [1, 2], 7]
    fitted = fit_rows(rows, SCHEMA)
    assert math.isnan(fitted[0].pop("size"))
    assert fitted == [{"rooms": 2, "city": ""}, {"size": 1, "rooms": 3, "city": "NA"}, [1, 2], 7]
    assert capsys.readouterr().err == "ROWS: the model does not take 'label'; ignored\n"
    with pytest.raises(InvalidData, match="ROWS, row 1: 'rooms' has no value, which this model needs"):
        fit_rows([{"rooms": None}], SCHEMA)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows.npz", "rows.npz is not an NPZ archive"),
        ("rows.jsonl.gz", "cannot unpack '.*rows.jsonl.gz': Not a gzipped file"),
        ("rows.bin", "its name tells no format"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises((InvalidData, InvalidSetting), match=message):
        read_rows_file(str(tmp_path / name), schema=SCHEMA)


def test_every_format_of_training_is_read(tmp_path: Path) -> None:
    table = pd.DataFrame({"city": ["Bern", "Zürich", None], "size": [1.1, None, 3.25], "rooms": [1, 2, 3]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    table.to_csv(tmp_path / "rows.txt", index=False, sep="|")
    table.to_parquet(tmp_path / "rows.parquet")
    table.to_json(tmp_path / "rows.json", orient="records")
    table.to_json(tmp_path / "rows.jsonl.gz", orient="records", lines=True)
    for file in sorted(tmp_path.iterdir()):
        first, second, third = read_rows_file(str(file), schema=SCHEMA)
        assert math.isnan(second.pop("size")), file
        assert (first, second, third) == (
            {"size": 1.1, "rooms": 1, "city": "Bern"},
            {"rooms": 2, "city": "Zürich"},
            {"size": 3.25, "rooms": 3, "city": ""},
        ), file


def test_a_number_among_texts_is_the_text_that_training_makes_of_it() -> None:
    rows = [{"size": 1, "rooms": 2, "city": value} for value in (7, 7.0, 7.5, True, "7")]
    assert [row["city"] for row in fit_rows(rows, SCHEMA)] == ["7", "7", "7.5", "true", "7"]


def test_texts_are_printed_as_they_are(trainwright: Callable[..., Any], address: str) -> None:
    assert '"Zürich"' in trainwright("predict", "known", '{"city": "Zürich"}', "--address", address, "--json").out


def test_from_python_the_same_rows_get_the_same_answers(trainwright: Callable[..., Any], address: str) -> None:
    import trainwright as public

    assert public.predict("known", [{"a": 1, "b": 2}, {"a": 1}], address=address) == [2, 1]
    with pytest.raises(public.ServingUnavailable, match="no such model"):
        public.predict("other", [{"a": 1}], address=address)
    with pytest.raises(public.InvalidSetting, match="no model 'known' was deployed here"):
        public.predict("known", [{"a": 1}])
