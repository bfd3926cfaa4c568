"""SavedModels of TensorFlow 1, Keras 2 and Keras 3, each made in a process of its own, load and answer.

Each looks words up in a table, so that assets and initialisers count too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TENSORFLOW_1 = """
import json, sys
from pathlib import Path
import tensorflow as tf

v1 = tf.compat.v1
v1.disable_eager_execution()
folder = Path(sys.argv[1])
vocabulary = folder.parent / "vocabulary.txt"
vocabulary.write_text("red\\ngreen\\n")
words = v1.placeholder(tf.string, [None])
asset = v1.constant(str(vocabulary))
v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
entries = tf.lookup.TextFileInitializer(
    asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
)
table = tf.lookup.StaticHashTable(entries, -1)
weights = v1.get_variable("weights", initializer=[0.25, 4.0, -1.0])
scores = tf.gather(weights, table.lookup(words) + 1)
with v1.Session() as session:
    session.run([v1.global_variables_initializer(), v1.tables_initializer()])
    print(json.dumps(session.run(scores, {words: ["green", "red", "blue"]}).tolist()))
    info = v1.saved_model.build_tensor_info
    signature = v1.saved_model.build_signature_def(
        {"words": info(words)}, {"scores": info(scores)}, "tensorflow/serving/predict"
    )
    builder = v1.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(
        session, ["serve"], {"serving_default": signature},
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS), main_op=v1.tables_initializer(),
    )
    builder.save()
vocabulary.unlink()
"""

KERAS = """
import json, os, sys
import tensorflow as tf

keras = tf.keras
keras.utils.set_random_seed(0)
words = keras.Input([1], dtype="string", name="words")
lookup = keras.layers.StringLookup(vocabulary=["red", "green"])
scores = keras.layers.Flatten(name="scores")(keras.layers.Embedding(3, 2)(lookup(words)))
model = keras.Model(words, scores)
print(json.dumps(model(tf.constant([["green"], ["red"], ["blue"]])).numpy().tolist()))
if "TF_USE_LEGACY_KERAS" in os.environ:
    model.save(sys.argv[1], save_format="tf")
else:
    model.export(sys.argv[1], verbose=False)
"""
PROGRAMS = {
    "tensorflow_1": (TENSORFLOW_1, {}),
    "keras_2": (KERAS, {"TF_USE_LEGACY_KERAS": "1"}),
    "keras_3": (KERAS, {}),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Base path and own answer by name of the library."""
    folder = tmp_path_factory.mktemp("exports")
    found = {}
    for name, (program, environment) in PROGRAMS.items():
        (folder / name).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder / name / "1")],
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found[name] = (folder / name, json.loads(done.stdout.splitlines()[-1]))
    return found


@pytest.fixture(scope="module")
def exports_server(
    exports: dict[str, tuple[Path, Any]], start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}'
        for name, (base, _) in exports.items()
    )
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(f"model_config_list {{ {entries} }}")
    return start_server(model_config_file=config, max_num_load_retries=0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_server_answers_what_the_library_itself_answers(
    exports: dict[str, tuple[Path, Any]], exports_server: Any, name: str
) -> None:
    words: list[Any] = ["green", "red", "blue"]
    if name != "tensorflow_1":
        words = [[word] for word in words]
    answer = exports_server.json(f"/v1/models/{name}:predict", {"instances": words})["predictions"]
    _, expected = exports[name]
    for found, wanted in zip(answer, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-6)
