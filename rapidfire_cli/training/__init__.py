"""One run, one turn, one gang."""
