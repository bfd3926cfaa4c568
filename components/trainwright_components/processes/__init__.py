"""Processes of this machine: a warm parent whose children start at once, what ends with whom, locks, exit codes."""
