"""Packages that the processes of tests do without: modules beside this one hide them where PATHS is set."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
PATHS = f"{ROOT}:{Path(__file__).parent}"
"""As PYTHONPATH: the project, and what hides packages."""
