"""Hides the package of this name, whose import parses a grammar for 1.2 s of CPU in every process of Ray.

Ray imports jsonschema, which imports it if it is installed, as it is with JupyterLab, to check IRIs.
"""

raise ImportError("left out of the tests' processes")
