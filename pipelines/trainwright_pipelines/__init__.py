"""Pipelines, the engine that runs compiled specs on one machine, the targets and the command line."""
