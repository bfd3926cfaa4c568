"""Train the baselines of runs anew, with nothing of the product in between, and print both numbers; run by hand.

    python tests/campaigns/baselines.py RUN [RUN ...]

`trainwright runs show RUN --json` names the prepared dataset and what evaluate measured. The TFRecords are read byte by
byte here, the models are scikit-learn's own pipelines on a table of pandas. Ends with 1 if a number is further apart
than `TOLERANCE` of the product's.
"""

import argparse
import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TOLERANCE = 0.005
LOGISTIC = LogisticRegression(max_iter=1000)
MODELS: dict[str, tuple[tuple[str, Any], tuple[str, Any]]] = {
    "class": (("majority class", DummyClassifier(strategy="prior")), ("logistic regression", LOGISTIC)),
    "multilabel": (
        ("label shares", DummyClassifier(strategy="prior")),
        ("logistic regression of each label", MultiOutputClassifier(LOGISTIC)),
    ),
    "number": (("mean", DummyRegressor()), ("ridge regression", Ridge())),
}
"""By the kind of the label, under the product's names."""
MAIN: dict[str, tuple[str, Any]] = {
    "class": ("accuracy", metrics.accuracy_score),
    "multilabel": ("micro_f1", partial(metrics.f1_score, average="micro")),
    "number": ("rmse", metrics.root_mean_squared_error),
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def records(path: Path) -> Iterator[bytes]:
    """Length, checksum, content, checksum: https://www.tensorflow.org/tutorials/load_data/tfrecord."""
    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + length]
        place += 16 + length


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer: https://protobuf.dev/programming-guides/encoding/."""
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        kind = key & 7
        value: Any
        if kind == _VARINT:
            value, place = varint(message, place)
        else:
            length, place = varint(message, place) if kind == _BYTES else ({_FIXED64: 8, _FIXED32: 4}[kind], place)
            value, place = message[place : place + length], place + length
        yield key >> 3, value


def varint(message: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        value, shift, place = value | (byte & 0x7F) << shift, shift + 7, place + 1
        if byte < 0x80:
            return value, place


def example(record: bytes) -> dict[str, list[Any]]:
    """A tf.Example: features, of them a map, of names to lists of bytes, float or int64."""
    found = {}
    for _, features in fields(record):
        for _, entry in fields(features):
            parts = dict(fields(entry))
            [(kind, values)] = list(fields(parts[2])) or [(1, b"")]
            found[parts[1].decode()] = list(values_of(kind, values))
    return found


def values_of(kind: int, values: bytes) -> Iterator[Any]:
    """The members of a list, packed or one by one."""
    for _, value in fields(values):
        if kind == 1:
            yield value
        elif kind == 2:
            yield from struct.unpack(f"<{len(value) // 4}f", value)
        elif isinstance(value, int):
            yield signed(value)
        else:
            place = 0
            while place < len(value):
                number, place = varint(value, place)
                yield signed(number)


def signed(number: int) -> int:
    """Two's complement in 64 bits."""
    return number - (1 << 64) if number >> 63 else number


def read_table(dataset: Path, split: str, schema: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a split with one column per number; missing is NaN, or None in a text."""
    rows = [example(record) for file in sorted((dataset / split).glob("*.tfrecord")) for record in records(file)]
    columns: dict[str, Any] = {}
    label, weight = schema["label"], schema.get("weight")
    names = [feature["name"] for feature in schema["features"]] + [label["name"]] + ([weight] if weight else [])
    for name in names:
        for place in range(len(rows[0][name])):
            values = [row[name][place] for row in rows]
            if isinstance(values[0], bytes):
                values = [value.decode(errors="replace") for value in values]
            columns[f"{name}/{place}"] = values
    return pd.DataFrame(columns)


def make_pipeline_for(schema: Mapping[str, Any], table: pd.DataFrame, model: Any) -> Any:
    """Numbers, categories and texts, each in the plain way."""
    parts: list[tuple[str, Any, Any]] = []
    for feature in schema["features"]:
        columns = [name for name in map(str, table) if name.rpartition("/")[0] == feature["name"]]
        if feature["kind"] == "text":
            parts += [(name, TfidfVectorizer(), name) for name in columns]
        elif feature["dtype"] == "string":
            frequent = SimpleImputer(missing_values="", strategy="most_frequent")
            parts.append((feature["name"], make_pipeline(frequent, OneHotEncoder(handle_unknown="ignore")), columns))
        else:
            numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
            parts.append((feature["name"], numbers, columns))
    return make_pipeline(ColumnTransformer(parts), model)


def own_scores(dataset: Path, split: str, *, with_columns: bool = True) -> dict[str, dict[str, float]]:
    """The metrics of each baseline by its name, all of it computed here."""
    schema = json.loads((dataset / "schema.json").read_text())
    train, test = (read_table(dataset, name, schema) for name in ("train", split))
    weight, kind = schema.get("weight"), schema["label"]["kind"]
    labels = [name for name in map(str, train) if name.rpartition("/")[0] == schema["label"]["name"]]
    weights = [table[f"{weight}/0"] if weight else np.ones(len(table)) for table in (train, test)]
    given, truth = (table[labels].to_numpy().squeeze(axis=1 if len(labels) == 1 else ()) for table in (train, test))
    simple, linear = MODELS[kind]
    found = {}
    if with_columns and (season := (schema.get("history") or {}).get("season")):
        before = test[f"{schema['label']['name']}_lag_{season}/0"].fillna(np.average(given, weights=weights[0]))
        found["seasonal naive"] = {MAIN[kind][0]: MAIN[kind][1](truth, before, sample_weight=weights[1])}
    for name, model in (simple, linear) if with_columns else (simple,):
        is_simple = name == simple[0]
        pipeline = clone(model) if is_simple else make_pipeline_for(schema, train, clone(model))
        step = "sample_weight" if is_simple else f"{pipeline.steps[-1][0]}__sample_weight"
        answers = pipeline.fit(train, given, **{step: weights[0]}).predict(test)
        found[name] = {MAIN[kind][0]: MAIN[kind][1](truth, answers, sample_weight=weights[1])}
        if len(schema["label"]["class_names"]) == 2 and len(np.unique(truth)) == 2:
            scores = pipeline.predict_proba(test)[:, 1]
            found[name]["auc"] = metrics.roc_auc_score(truth, scores, sample_weight=weights[1])
    return found


def compare(run: str) -> Iterator[tuple[str, str, str, float, float]]:
    """Name of the baseline, metric, the product's and the own number of a run."""
    shown = subprocess.run(
        [Path(sys.executable).with_name("trainwright"), "runs", "show", run, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    outputs = [step["outputs"]["artifacts"] for step in json.loads(shown.stdout)["steps"]]
    dataset = next(artifact["uri"] for each in outputs for artifact in each.get("dataset", ()))
    recorded = [artifact["metadata"] for each in outputs for artifact in each.get("metrics", ())]
    measured = next(each for each in recorded if "baselines" in each)
    models = measured["baselines"]["models"]
    for name, scores in own_scores(Path(dataset), measured["split"], with_columns=len(models) > 1).items():
        for metric, own in scores.items():
            yield run, name, metric, models[name]["metrics"][metric], own


def main() -> int:
    """Compare the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+")
    apart = 0
    print("| run | baseline | metric | product | own |\n| --- | --- | --- | --- | --- |")
    for run in parser.parse_args().run:
        for row in compare(run):
            apart += abs(row[3] - row[4]) > TOLERANCE * abs(row[4])
            print("| " + " | ".join([*row[:3], f"{row[3]:.6g}", f"{row[4]:.6g}"]) + " |")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
