"""A model that cannot be trained on a dataset is refused before any cluster starts, with the user's own lines."""

from pathlib import Path

import pytest

from trainwright_components.datasets.schema import Schema
from trainwright_components.datasets.statistics import Statistics
from trainwright_components.errors import InvalidModule, InvalidSetting, UserCodeError
from trainwright_components.training.module_check import check_module
from trainwright_components.user_module.module import Context, load_module, resolve_params

PREPROCESS = """
import keras, tensorflow as tf
def preprocess(features, context):
    return {"image": tf.cast(features["image"], tf.float32)[..., None]}
"""
NET = """
def net(shape=(8, 8, 1), name="image", units=10, compiled=True):
    image = keras.Input(shape, name=name)
    x = keras.layers.Dense(units, activation="softmax")(keras.layers.Flatten()(image))
    model = keras.Model({name: image}, x)
    if compiled:
        model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def check(tmp_path: Path, dataset: Path, text: str) -> None:
    file = tmp_path / "net.py"
    file.write_text(text)
    module = load_module(file)
    context = Context(
        params=resolve_params(module, {}),
        schema=Schema.load(dataset),
        statistics=Statistics.load(dataset),
        dataset=dataset,
    )
    check_module(module, context)


def build(returns: str) -> str:
    return f"{PREPROCESS}{NET}\ndef build_model(context):\n    return {returns}\n"


def test_a_fitting_model_passes(tmp_path: Path, digits_dataset: Path) -> None:
    check(tmp_path, digits_dataset, build("net()"))


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("None", r"must return a keras\.Model, got builtins\.NoneType"),
        ("net", r"must return a keras\.Model, got builtins\.function"),
        ("net(compiled=False)", r"not compiled; call model\.compile"),
        ("net(name='picture')", r"takes the inputs 'picture', but preprocess of net\.py gives 'image'"),
        (
            "net(shape=(28, 28, 1))",
            r"takes 'image' with shape \(batch, 28, 28, 1\), but preprocess .* \(batch, 8, 8, 1\); build the model "
            r"with keras\.Input\(shape=\(8, 8, 1\)\), or give it another shape in preprocess",
        ),
        ("net(shape=(8,))", r"takes 'image' with shape \(batch, 8\), but preprocess .* \(batch, 8, 8, 1\)"),
        ("net(units=3)", r"'digit' has 10 classes, .*the shape \(batch, 3\); .*needs 10 units \(net\.py, line \d+\)"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(tmp_path: Path, digits_dataset: Path, returns: str, message: str) -> None:
    with pytest.raises(InvalidModule, match=message):
        check(tmp_path, digits_dataset, build(returns))


def test_a_model_of_the_other_keras_is_named(tmp_path: Path, digits_dataset: Path) -> None:
    text = "class Model: pass\nModel.__module__ = 'tf_keras.src.engine'\ndef build_model(context): return Model()\n"
    with pytest.raises(InvalidModule, match=r"got tf_keras\.src\.engine\.Model; import one of keras and tf_keras"):
        check(tmp_path, digits_dataset, text)


def test_without_preprocess_the_dataset_itself_has_to_fit(tmp_path: Path, digits_dataset: Path) -> None:
    text = "import keras" + NET + "\ndef build_model(context):\n    return net((4, 4), 'picture')\n"
    with pytest.raises(
        InvalidModule, match=r"takes the inputs 'picture', but the dataset gives 'image'.* differ in shape"
    ):
        check(tmp_path, digits_dataset, text)


LAYERS = "[keras.layers.Flatten(), keras.layers.Dense(10, activation='softmax')]"
SUBCLASS = """
import keras
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.flat, self.units = keras.layers.Flatten(), keras.layers.Dense(10)
    def call(self, inputs):
        return self.units(self.flat({taken}))
def build_model(context):
    model = Net()
    model.compile(loss="sparse_categorical_crossentropy")
    return model
"""
COMPILED = """
import keras
def build_model(context):
    image = keras.Input((8, 8), name="picture")
    output = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(image))
    model = {model}
    model.compile(loss="sparse_categorical_crossentropy")
    return model
"""


@pytest.mark.parametrize(
    "text",
    [
        COMPILED.format(model=f"keras.Sequential([keras.Input((8, 8)), *{LAYERS}])"),
        COMPILED.format(model=f"keras.Sequential({LAYERS})"),
        COMPILED.format(model="keras.Model(image, output)"),
        COMPILED.format(model=f"keras.Sequential([keras.Input((8, 8, 1)), *{LAYERS}])"),
        COMPILED.format(model="keras.Model(image, output)").replace("(8, 8)", "(8, 8, 1)"),
        "import warnings; warnings.filterwarnings('ignore', 'When providing')\n"  # Keras warns that key and name differ
        + COMPILED.format(model="keras.Model({'image': image}, output)"),
        COMPILED.format(model="keras.Model([image], output)"),
        COMPILED.format(model="keras.Model({'picture': image}, output)"),
        SUBCLASS.format(taken="inputs"),
        SUBCLASS.format(taken="inputs['image']"),
        "def preprocess(features, context):\n    return {'scaled': features['image'] / 16}\n"
        + COMPILED.format(model="keras.Model(image, output)"),
    ],
)
def test_a_model_with_one_input_takes_the_one_feature(tmp_path: Path, digits_dataset: Path, text: str) -> None:
    check(tmp_path, digits_dataset, text)


def test_an_error_in_a_subclassed_model_is_the_one_of_how_it_takes_its_input(
    tmp_path: Path, digits_dataset: Path
) -> None:
    for taken in ("inputs", "inputs['image']"):
        with pytest.raises(UserCodeError, match=r"InvalidArgumentError.*\(net\.py, line 8\)"):
            check(tmp_path, digits_dataset, SUBCLASS.format(taken=f"keras.ops.ones((3, 3)) @ {taken}"))


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("scale", "NameError: name 'scale' is not defined"),
        ("{}['scale']", "KeyError: "),
        ("keras.ops.reshape(inputs, (7, 7))", "InvalidArgumentError: .*reshape"),
        ("exec('raise ValueError')", "ValueError"),
    ],
)
def test_an_error_in_call_is_reported_with_its_reason_and_without_colours(
    raised: str, reason: str, package: str, tmp_path: Path, digits_dataset: Path
) -> None:
    text = SUBCLASS.format(taken="inputs").replace("return self", f"return {raised} or self")
    text = text.replace("keras", package).replace("tf_keras.ops", "__import__('tensorflow')")
    with pytest.raises(UserCodeError, match=rf"failed: {reason}.*\(net\.py, line 8\)") as caught:
        check(tmp_path, digits_dataset, text)
    assert "\x1b" not in str(caught.value) + caught.value.user_traceback
    assert "Exception encountered" not in str(caught.value)


def test_an_exception_in_build_model_keeps_the_users_lines_only(tmp_path: Path, digits_dataset: Path) -> None:
    text = "import keras\ndef build_model(context):\n    return keras.layers.Dense(context.params['units'])\n"
    with pytest.raises(
        UserCodeError, match=r"build_model of net\.py failed: KeyError: 'units' \(net\.py, line 3\)"
    ) as caught:
        check(tmp_path, digits_dataset, text)
    assert caught.value.user_traceback.splitlines()[1] == f'  File "{tmp_path / "net.py"}", line 3, in build_model'
    assert "trainwright_components" not in caught.value.user_traceback


def test_an_error_of_a_helper_of_ours_stays_what_it_is_and_shows_the_users_line(
    tmp_path: Path, digits_dataset: Path
) -> None:
    text = "def build_model(context):\n    return context.schema.feature('imgae')\n"
    with pytest.raises(InvalidSetting, match="no feature is called 'imgae'; did you mean 'image'") as caught:
        check(tmp_path, digits_dataset, text)
    lines = caught.value.user_traceback.splitlines()
    assert lines[1:3] == [
        f'  File "{tmp_path / "net.py"}", line 2, in build_model',
        "    return context.schema.feature('imgae')",
    ]
    assert lines[-1].startswith("trainwright_components.errors.InvalidSetting: no feature is called 'imgae'")
    assert "schema.py" not in caught.value.user_traceback


def test_an_error_of_ours_below_a_graph_of_the_users_shows_the_users_line(tmp_path: Path, digits_dataset: Path) -> None:
    text = f"""{PREPROCESS}
import tensorflow as tf

def build_model(context):
    @tf.function
    def widths(x):
        return x + len(context.schema.feature("imgae").shape)

    return widths(tf.constant(1))
"""
    with pytest.raises(InvalidSetting, match="no feature is called 'imgae'") as caught:
        check(tmp_path, digits_dataset, text)
    assert 'context.schema.feature("imgae")' in caught.value.user_traceback


def test_an_error_of_ours_about_the_module_itself_has_no_lines(tmp_path: Path, digits_dataset: Path) -> None:
    with pytest.raises(InvalidModule) as caught:
        check(tmp_path, digits_dataset, "def build_model(context): return None\n")
    assert not caught.value.user_traceback


def test_an_exception_in_preprocess_keeps_the_users_line(tmp_path: Path, digits_dataset: Path) -> None:
    text = build("net()").replace('features["image"]', 'features["pixels"]')
    with pytest.raises(UserCodeError, match=r"preprocess of net\.py failed: KeyError: 'pixels' \(net\.py, line 4\)"):
        check(tmp_path, digits_dataset, text)


def test_an_exception_inside_a_layer_keeps_the_users_line(tmp_path: Path, digits_dataset: Path) -> None:
    text = f"""{PREPROCESS}
class Net(keras.Model):
    def call(self, features):
        return self.head(features["image"])

def build_model(context):
    model = Net()
    model.compile(loss="sparse_categorical_crossentropy")
    return model
"""
    with pytest.raises(
        UserCodeError, match=r"calling the model on a few rows of net\.py failed: AttributeError"
    ) as caught:
        check(tmp_path, digits_dataset, text)
    assert 'return self.head(features["image"])' in caught.value.user_traceback


def test_a_module_that_trains_itself_is_not_built(tmp_path: Path, digits_dataset: Path) -> None:
    check(tmp_path, digits_dataset, "def build_model(context): raise RuntimeError\ndef train(context): return None\n")
