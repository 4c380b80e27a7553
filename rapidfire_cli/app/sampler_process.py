"""The process that asks samplers for proposals: pickled questions in, a line of JSON for each out.

It is a process of its own, so that the controller imports neither Optuna nor what Optuna imports. It keeps
nothing between two questions, and ends with the controller.
"""

import json
import pickle
import sys
import warnings

from rapidfire_cli.engine.local.guardian import end_with
from rapidfire_cli.search.answering import answer


def main(controller: int) -> None:
    """Answer questions until standard input ends."""
    end_with(controller)
    warnings.simplefilter("ignore")
    while True:
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        print(json.dumps(answer(asked)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
