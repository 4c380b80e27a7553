"""The terminal app of `rapidfire top`; only its verb imports it, as it needs textual."""
