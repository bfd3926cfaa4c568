"""Files by path or address: the only room that knows schemes such as gs://."""
