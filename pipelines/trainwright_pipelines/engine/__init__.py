"""Runs a compiled PipelineSpec on one machine, with a durable record."""
