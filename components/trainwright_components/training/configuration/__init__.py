"""Settings of a training run and of its devices, checked where they enter."""
