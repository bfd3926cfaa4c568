"""Where the next trial's parameters come from: one module for each algorithm."""
