"""Read a table, images or a bundled set; write sharded examples with a schema and statistics."""
