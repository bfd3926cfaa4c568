"""A loaded signature is called by the names of its arguments, whoever wrote it and whatever its graph calls them."""

from pathlib import Path

import tensorflow as tf

from trainwright_components.saved_models.graph_names import call_signature, input_specs


def test_capitals_of_a_model_that_somebody_else_wrote_stay(tmp_path: Path) -> None:
    model = tf.Module()

    def weigh(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": 10 * inputs["Age"] + inputs["age_"] + 100 * inputs["Fare"]}

    specs = {name: tf.TensorSpec([None], tf.float32, name=name) for name in ("Age", "age_", "Fare")}
    model.weigh = tf.function(weigh).get_concrete_function(**specs)
    tf.saved_model.save(model, str(tmp_path), signatures={"serving_default": model.weigh})
    loaded = tf.saved_model.load(str(tmp_path))
    signature = loaded.signatures["serving_default"]
    assert list(input_specs(signature)) == ["Age", "Fare", "age_"]
    inputs = {"Age": tf.constant([1.0]), "age_": tf.constant([2.0]), "Fare": tf.constant([3.0])}
    assert call_signature(signature, inputs)["sum"].numpy().tolist() == [312.0]


def test_a_model_of_tensorflow_1_is_called_by_its_signature_and_not_by_its_placeholders(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        first, second = tf.compat.v1.placeholder(tf.float32, [None]), tf.compat.v1.placeholder(tf.float32, [None])
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "model"))
        infos = {"Big name": first, "images": second, "y": first * 2 + second}
        tensors = {name: tf.compat.v1.saved_model.build_tensor_info(tensor) for name, tensor in infos.items()}
        definition = tf.compat.v1.saved_model.build_signature_def(
            {name: tensors[name] for name in ("Big name", "images")}, {"y": tensors["y"]}
        )
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": definition})
        builder.save()
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    signature = loaded.signatures["serving_default"]
    assert list(input_specs(signature)) == ["Big name", "images"]
    inputs = {"Big name": tf.constant([3.0]), "images": tf.constant([0.5])}
    assert call_signature(signature, inputs)["y"].numpy().tolist() == [6.5]
