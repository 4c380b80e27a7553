"""Shell completion: what could be typed next, found without loading the command line."""
