"""Search a parameter space for the best parameters of a user's model."""
