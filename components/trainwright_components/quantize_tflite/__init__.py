"""Shrink a SavedModel to a TFLite file within a budget."""
