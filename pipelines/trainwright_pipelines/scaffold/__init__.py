"""Writes a new project: a model module that fits the data, its parameters, a README."""
