"""What lets a training run go on after it was cut off or its loss was lost."""
