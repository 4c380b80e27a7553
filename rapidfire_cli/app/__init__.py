"""The stages, wired: one function per verb."""
