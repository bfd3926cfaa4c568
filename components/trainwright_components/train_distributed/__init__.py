"""Train a user's Keras model on a cluster of processes or devices."""
