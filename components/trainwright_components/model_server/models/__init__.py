"""What a loaded version computes with: SavedModels, TFLite models, and their warm-up."""
