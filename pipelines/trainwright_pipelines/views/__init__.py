"""What is told about runs, for the command line and for pages alike."""
