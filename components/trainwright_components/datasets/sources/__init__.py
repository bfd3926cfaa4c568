"""Readers of the formats that data comes in; each yields chunks of rows in memory of fixed size."""
