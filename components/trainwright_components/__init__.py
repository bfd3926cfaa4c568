"""The components of Trainwright and the libraries under them. Nothing in here knows pipelines or the command line."""
