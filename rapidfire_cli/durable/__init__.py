"""All durable I/O: files appear whole or not at all, and tests can make every call fail."""
