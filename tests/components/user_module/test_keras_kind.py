"""Which Keras a module is written for is read from its text, before anything is imported."""

from pathlib import Path

import pytest

from trainwright_components.user_module.keras_kind import uses_tf_keras


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import tf_keras\n", True),
        ("import numpy, tf_keras.layers as layers\n", True),
        ("from tf_keras import layers\n", True),
        ("def build_model(context):\n    from tf_keras.layers import Dense\n", True),
        ('import os\nos.environ["TF_USE_LEGACY_KERAS"] = "1"\nimport tensorflow as tf\n', True),
        ("import keras\n", False),
        ("import keras  # not tf_keras\n", False),
        ('NAME = "tf_keras"\nimport keras\n', False),
        ("import tf_keras_vis\n", False),
        ("import tf_keras this is no Python\n", False),
    ],
)
def test_only_code_that_asks_for_tf_keras_gets_it(text: str, expected: bool, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(text)
    assert uses_tf_keras(file) is expected


def test_one_file_of_a_folder_decides_for_it(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("import layers\n")
    assert not uses_tf_keras(tmp_path)
    (tmp_path / "layers.py").write_text("import tf_keras\n")
    assert uses_tf_keras(tmp_path)


def test_a_dotted_name_is_looked_up_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old_net.py").write_text("import tf_keras\nraise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert uses_tf_keras("old_net")
    assert not uses_tf_keras("json")
    assert not uses_tf_keras("there_is_no_such_module")
