"""Refuse what is asked of a model before it is trained."""
