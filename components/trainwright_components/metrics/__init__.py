"""What each metric is, how it is computed from labels and scores, and which of two values is better."""
