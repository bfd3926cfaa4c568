"""The REST API: paths, JSON, and HTTP around them."""
