"""Score a trained model on held-out rows and decide whether it may be served."""
