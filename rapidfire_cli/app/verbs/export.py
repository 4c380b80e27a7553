"""`export`: a trained run's model as a directory that its own library reads."""

import sys
from pathlib import Path

from rapidfire_cli.app.trained import Asked, choose, use
from rapidfire_cli.engine.messages import Export
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.view.formats import yaml_text


def export(asked: Asked, directory: Path, merge: bool) -> int:
    """Write the directory and say on stderr what it holds; the exit code."""
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        hint = "choose a directory that does not exist"
        raise Refusal([Problem("E625", f"{directory} is not an empty directory", hint=hint)])
    if not directory.absolute().parent.is_dir():
        hint = f"create it with `mkdir -p {directory.parent}`"
        raise Refusal([Problem("E625", f"the parent of {directory} does not exist", hint=hint)])
    chosen = choose(asked)
    config = f"{yaml_text(dict(chosen.row.config))}\n"
    answer = use(chosen, Export(str(directory.absolute()), merge, config))
    print(f"run {chosen.row.number}, epoch {answer.epoch}: exported to {directory}", file=sys.stderr)
    return 0
