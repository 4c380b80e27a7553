"""A module that leaves while it is imported."""

raise SystemExit(9)
