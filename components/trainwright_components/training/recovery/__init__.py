"""What lets a training go on after it was cut off or its loss was lost."""
