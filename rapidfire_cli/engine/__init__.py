"""Actions to processes to events."""
