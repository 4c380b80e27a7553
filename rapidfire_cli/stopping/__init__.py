"""Early stopping: one file per rule, one registry."""
