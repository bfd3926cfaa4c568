"""The methods of PredictionService and ModelService on messages, however they came."""
