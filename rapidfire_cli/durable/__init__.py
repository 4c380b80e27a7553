"""All durable I/O: files appear complete or not at all, and tests can make every call fail."""
