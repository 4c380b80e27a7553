"""Rows to people."""
