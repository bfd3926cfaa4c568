"""Runs a compiled PipelineSpec on one machine, with a durable record.

The way through: `runs` (what others call) -> `worker` (thread, heartbeat, lease) -> `scheduler` (the DAG) -> `steps`
(one step) -> `launch` (its process) -> `task_entry` (inside that process). `parsing` reads the spec, `resolve` moves
values, `store` remembers everything as `records`.
"""
