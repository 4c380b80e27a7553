"""`make test` tries a share of what some tests could try; RAPIDFIRE_TESTS=whole tries all of it."""

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

Case = TypeVar("Case")

WHOLE = os.environ.get("RAPIDFIRE_TESTS") == "whole"
EXAMPLES = 100 if WHOLE else 10  # of hypothesis


def share(cases: Iterable[Case], each: int) -> Sequence[Case]:
    """Every `each`-th of the cases, beginning with the first."""
    return [*islice(cases, 0, None, 1 if WHOLE else each)]
