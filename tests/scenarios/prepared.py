"""An MLSpec that makes a list of words once for all runs, of the size that its runs ask for."""

import os
import signal
import time
from pathlib import Path

from tests.scenarios.specs import Tiny, first


class Worded(Tiny):
    """Dies in the middle of its first `prepare`; `initialize_run` makes a list where there is none."""

    def prepare(self, misc_path, data, cfgs):
        sizes = sorted(cfg["user_knobs"]["size"] for cfg in cfgs)
        print("sizes", *sizes, file=Path("calls").open("a"))  # noqa: SIM115
        (misc_path / "half").touch()
        if first("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        (misc_path / "words").write_bytes(os.urandom(8))

    def initialize_run(self, misc_path, cfg, mode):
        if not (misc_path / "words").exists():
            time.sleep(0.2)
            (misc_path / "words").write_bytes(os.urandom(8))
        print("words", (misc_path / "words").read_bytes().hex())


class Unprepared(Worded):
    """Leaves it all to `initialize_run`."""

    prepare = Tiny.prepare
