"""Simple models, trained on all training rows, that a model has to be at least as good as."""
