"""Searches that propose runs from the results of earlier ones."""
