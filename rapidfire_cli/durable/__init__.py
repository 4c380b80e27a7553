"""All durable I/O: what is kept appears whole or not at all, and every call can be made to fail."""
