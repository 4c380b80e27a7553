"""The conditions of a generator, `where` and `exclude`: which leaf configs they keep."""
