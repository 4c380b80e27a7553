"""Text to nodes with spans to the AST."""
