"""Serving processes from outside: start, watch, ask and stop them."""
