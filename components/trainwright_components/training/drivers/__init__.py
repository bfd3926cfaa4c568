"""Drivers run the steps of a training, one for each kind of strategy."""
