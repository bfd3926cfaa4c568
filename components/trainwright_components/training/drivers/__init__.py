"""Drivers run the steps of a training run, one for each kind of strategy."""
