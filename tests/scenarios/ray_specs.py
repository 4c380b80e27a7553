"""A MLSpec that notices when two processes train one run at the same time."""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path

from tests.scenarios.specs import Tiny

LOCKS = "LOCKS_OF_RUNS"
"""The environment variable that names a directory for locks, if not all nodes see the working directory."""


class Guarded(Tiny):
    """Holds a lock of the run during each step."""

    def compute_forward(self, model, batch, cfg):
        place = Path(os.environ.get(LOCKS, "."))
        run = hashlib.sha256(json.dumps(cfg["train"], sort_keys=True, default=str).encode()).hexdigest()[:16]
        with (place / f"lock-{run}").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                (place / "clashes").touch()
            time.sleep(cfg["user_knobs"]["pause"])
            return super().compute_forward(model, batch, {})
