"""Publish a SavedModel version, prove that it answers, and put it into service."""
