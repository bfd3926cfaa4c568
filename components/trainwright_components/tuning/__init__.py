"""Black-box tuning: studies, trials, goals and the parameter space. Imports no TensorFlow."""
