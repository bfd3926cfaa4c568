"""Versions on disk and in memory: which are aspired to, in which order they are loaded and unloaded, who has them."""
