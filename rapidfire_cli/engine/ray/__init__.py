"""The Ray backend: workers on every node of a Ray cluster."""
