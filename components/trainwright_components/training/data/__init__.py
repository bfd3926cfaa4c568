"""The rows of a training run: where they come from, in which order, with which weights."""
