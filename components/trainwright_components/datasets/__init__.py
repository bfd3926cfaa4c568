"""The data format between components: sharded tf.Example, schema and statistics."""
