"""Conditions over knobs: text to tokens to an AST. Conditions are never evaluated as Python."""
