"""Run pipelines on one machine."""
