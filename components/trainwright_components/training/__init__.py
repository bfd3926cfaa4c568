"""One training loop for every strategy, and the folder that a trained model lives in."""
