"""`doctor`: what this machine offers to a fit, and what is missing."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from rapidfire_cli.app.errors import ENVIRONMENT
from rapidfire_cli.app.machine import Offered, machine
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.store.layout import parent_directory
from rapidfire_cli.view.formats import Output


def doctor(parent: str | None, output: Output) -> int:
    """Print a line for each finding; the exit code is 5 if something is missing that every fit needs."""
    found = [*machine(parent_directory(parent))]
    ready = all(one.ok for one in found if one.needed)
    print_either(
        output,
        lambda: sys.stdout.writelines(f"{line}\n" for line in _lines(found, ready)),
        lambda: {"ready": ready, "findings": [asdict(one) for one in found]},
        lambda: [asdict(one) for one in found],
    )
    return 0 if ready else ENVIRONMENT


def _lines(found: Sequence[Offered], ready: bool) -> list[str]:
    width = max(len(one.name) for one in found)
    lines = [f"{_mark(one)} {one.name:<{width}}  {one.found}{_hint(one)}" for one in found]
    return [*lines, "ready to train" if ready else "not ready to train: see the lines marked ✗"]


def _mark(one: Offered) -> str:
    return "✓" if one.ok else "✗" if one.needed else "·"


def _hint(one: Offered) -> str:
    return f"; {one.hint}" if one.hint else ""
