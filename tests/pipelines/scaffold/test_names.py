"""Names that would end a string, escape a sign or need two escapes: the files of a project hold them as they are."""

import ast
from pathlib import Path

import yaml

from trainwright_components.datasets.schema import Feature, Label, Schema
from trainwright_components.user_module.given_model import GivenModel, GivenTensor
from trainwright_pipelines.scaffold.given import write_given_project
from trainwright_pipelines.scaffold.images import write_image_project

NAME = 'C:\\x """ \U0001f600'


def texts_of(module: Path) -> set[str]:
    tree = ast.parse(module.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_pictures_in_a_column_of_any_name(tmp_path: Path) -> None:
    picture = Feature(name=NAME, kind="image", dtype="string")
    label = Label(name=NAME + "y", kind="class", dtype="int64", class_names=("a", "b"))
    schema = Schema(features=(picture,), label=label)
    data = {"kinds": {NAME: "image"}}
    write_image_project(tmp_path, source=f"/{NAME}", schema=schema, picture=picture, side=8, data=data)
    assert NAME in texts_of(tmp_path / "model.py")
    written = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert (written["data"], written["label"]) == (data, NAME + "y")


def test_a_trained_model_with_inputs_of_any_name(tmp_path: Path) -> None:
    file = tmp_path / "m.keras"
    file.write_bytes(b"")
    tensor = GivenTensor(name=NAME, shape=(1,), dtype="float32")
    given = GivenModel(
        path=file,
        is_saved_model=False,
        inputs=(tensor,),
        outputs=(GivenTensor(name="value", shape=(1,), dtype="float32"),),
        takes_mapping=True,
        puts_out_probabilities=False,
    )
    schema = Schema(
        features=(Feature(name=NAME, kind="numeric", dtype="float32"),),
        label=Label(name=NAME + "y", kind="number", dtype="float32"),
    )
    write_given_project(tmp_path / "project", given, source="t.csv", schema=schema)
    assert NAME in texts_of(tmp_path / "project" / "model" / "model.py")
