"""Turn a trained model into a SavedModel that a server can load."""
