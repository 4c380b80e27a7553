"""Conditions over knobs: text to tokens to an AST of our own; nothing of it is ever evaluated as Python."""
