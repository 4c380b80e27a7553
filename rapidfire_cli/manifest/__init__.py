"""The AST to every run, spelt out."""
