"""Expand the AST to all runs."""
