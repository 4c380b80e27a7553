"""Ask the person at the terminal before something is lost."""

import sys


def confirmed(question: str, verb: str) -> bool:
    """Whether the person at the terminal agrees; without a terminal, print an error and return False."""
    if not sys.stdin.isatty():
        print(f"error: `{verb}` asks before it deletes; use `-y` in scripts", file=sys.stderr)
        return False
    print(f"{question}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
