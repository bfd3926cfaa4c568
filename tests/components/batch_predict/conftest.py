"""Tiny SavedModels whose answers can be computed by hand."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wine_model(tabular_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of the tabular dataset with its schema.

    Its scores are softmax([alcohol, ash or 0 where missing, 13 if strength is "strong" else 0]).
    """
    import tensorflow as tf

    from trainwright_components.datasets.schema import Schema

    schema = Schema.load(tabular_dataset)

    class Model(tf.Module):
        @tf.function(
            input_signature=[{each.name: tf.TensorSpec([None], each.dtype, name=each.name) for each in schema.features}]
        )
        def serve(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            ash = tf.where(tf.math.is_nan(features["ash"]), 0.0, features["ash"])
            strong = tf.where(features["strength"] == "strong", 13.0, 0.0)
            logits = tf.stack([features["alcohol"], ash, strong], axis=-1)
            return {"probabilities": tf.nn.softmax(logits)}

    return _export(Model(), tmp_path_factory.mktemp("wine") / "model", schema)


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel without a schema: `y` = 2 x + sum(z), with int32 `x` and float64 `z` of shape (2,)."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.int32, name="x"), tf.TensorSpec([None, 2], tf.float64, name="z")]
        )
        def serve(self, x: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": 2 * tf.cast(x, tf.float64) + tf.reduce_sum(z, axis=1)}

    return _export(Model(), tmp_path_factory.mktemp("plain") / "model", None)


def _export(model: object, folder: Path, schema: object) -> Path:
    import tensorflow as tf

    from trainwright_components.datasets.schema import Schema

    tf.saved_model.save(model, str(folder), signatures=model.serve)  # type: ignore[attr-defined]  # of tf.Module
    if isinstance(schema, Schema):
        (folder / "assets.extra").mkdir()
        schema.save(folder / "assets.extra")
    return folder
