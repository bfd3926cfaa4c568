"""What the processes of a training cluster run."""
