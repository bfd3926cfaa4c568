"""Score a file of rows with a SavedModel."""
