"""Runs a compiled PipelineSpec on one machine, with a durable record.

The way through: `runs` (what others call) -> `worker` (thread, heartbeat, lease) -> `dag` (what can start) -> `slots`
(what may start beside what runs) -> `steps` (one step) -> `preparing` (its files), `own_python` and `installing` (its
Python and packages) and `isolation` (what it runs in) -> `task_entry` (inside that process). `resolve`
moves values, `store` remembers everything as `records`; `ir` has read the spec.
"""
