"""A MLSpec that notices when two processes train one run at the same time."""

import fcntl
import hashlib
import json
import time
from pathlib import Path

from tests.scenarios.specs import Tiny

CLASHES = Path("clashes")


class Guarded(Tiny):
    """Holds a lock of the run during each step."""

    def compute_forward(self, model, batch, cfg):
        run = hashlib.sha256(json.dumps(cfg["train"], sort_keys=True, default=str).encode()).hexdigest()[:16]
        with open(f"lock-{run}", "a") as file:  # noqa: PTH123
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                CLASHES.touch()
            time.sleep(cfg["user_knobs"]["pause"])
            return super().compute_forward(model, batch, {})
