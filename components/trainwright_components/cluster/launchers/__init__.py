"""What starts the members of a cluster: one module for each kind of machine."""
