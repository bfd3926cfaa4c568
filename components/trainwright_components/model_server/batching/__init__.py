"""Requests that wait for each other and are computed together."""
