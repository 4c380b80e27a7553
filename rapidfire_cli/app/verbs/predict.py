"""`predict`: what a trained run predicts for each row of a file or folder."""

import sys
from pathlib import Path

from rapidfire_cli.app.trained import Asked, choose, use
from rapidfire_cli.engine.messages import Predict
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.view.wording import counted

FORMATS = (".csv", ".jsonl", ".parquet")


def predict(asked: Asked, data: Path, output: Path, batch_size: int | None) -> int:
    """Write the predictions and say on stderr what was written; the exit code."""
    if output.suffix.lower() not in FORMATS:
        message = f"cannot tell the format of {output}"
        raise Refusal([Problem("E623", message, expected=f"a name that ends with {', '.join(FORMATS)}")])
    if not output.absolute().parent.is_dir():
        raise Refusal([Problem("E623", f"the directory of {output} does not exist")])
    chosen = choose(asked)
    answer = use(chosen, Predict(str(data.absolute()), str(output.absolute()), batch_size))
    told = f"run {chosen.row.number}, epoch {answer.epoch}"
    print(f"{told}: wrote {counted(answer.rows, 'prediction')} to {output}", file=sys.stderr)
    return 0
