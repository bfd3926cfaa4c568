"""From what a user typed to a prepared run: finding, compiling, parameters, uploads."""
