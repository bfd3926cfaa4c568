"""Settings of a training and of its devices, checked where they enter."""
