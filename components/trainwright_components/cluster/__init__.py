"""Typed clusters, TF_CONFIG, and the processes that play their roles."""
