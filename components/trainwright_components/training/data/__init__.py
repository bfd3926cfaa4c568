"""The rows of a training: where they come from, in which order, with which weights."""
