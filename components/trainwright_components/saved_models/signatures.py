"""Names of the signatures that an exported model has, and of their inputs. Imports no TensorFlow."""

SERVING_DEFAULT = "serving_default"
"""Raw features to answers."""
SERVING_EXAMPLES = "serving_examples"
"""Serialized `tf.Example`s to answers."""
CLASSIFY = "classify"
REGRESS = "regress"
PREPROCESS = "preprocess"
"""Raw features to what the module's `preprocess` makes of them."""
PREPROCESSED = "preprocessed"
"""What `preprocess` has made to answers."""

EXAMPLES_INPUT = "examples"
