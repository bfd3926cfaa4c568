"""A SavedModel on disk and loaded: columns in, answers out; its versions, signatures and golden requests."""
