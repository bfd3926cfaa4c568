"""The user's model module: found, loaded and checked, in a process of its Keras kind. Knows no KFP."""
