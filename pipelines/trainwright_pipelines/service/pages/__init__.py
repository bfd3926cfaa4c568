"""Pages of runs for a browser."""
