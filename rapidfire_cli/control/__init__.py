"""What a request does, decided without I/O."""
