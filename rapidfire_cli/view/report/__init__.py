"""Reports: a whole experiment in one file for the browser."""
