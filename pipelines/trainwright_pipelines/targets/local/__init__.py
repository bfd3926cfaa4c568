"""Pipelines on this machine, by the engine."""
