"""Pages over the engine's store."""
