"""MLSpecs that make files once for all runs."""

import os
import random
from typing import ClassVar

from tests.training.specs import Blobs


class Words(Blobs):
    """Makes a list of as many words as the first run says; each call of `prepare` is counted."""

    calls: ClassVar[list[int]] = []

    def prepare(self, misc_path, data, cfgs):
        type(self).calls.append(len(cfgs))
        size = cfgs[0]["user_knobs"]["size"]
        (misc_path / "words").mkdir()
        (misc_path / "words" / "list.txt").write_text(" ".join(f"{random.random()}" for _ in range(size)))

    def initialize_run(self, misc_path, cfg, mode):
        print("words:", (misc_path / "words" / "list.txt").read_text())


class EachSize(Words):
    """Makes a file for every size that a run asks for."""

    calls: ClassVar[list[int]] = []

    def prepare(self, misc_path, data, cfgs):
        type(self).calls.append(len(cfgs))
        for cfg in cfgs:
            (misc_path / f"{cfg['user_knobs']['size']}").touch()

    def initialize_run(self, misc_path, cfg, mode):
        assert (misc_path / f"{cfg['user_knobs']['size']}").exists()


class Whims(Words):
    """Makes something else each time."""

    calls: ClassVar[list[int]] = []

    def prepare(self, misc_path, data, cfgs):
        super().prepare(misc_path, data, cfgs)
        (misc_path / "whim").write_bytes(os.urandom(8))


class Failing(Words):
    """Fails after half of the work."""

    def prepare(self, misc_path, data, cfgs):
        super().prepare(misc_path, data, cfgs)
        raise KeyError("words")


class Linking(Words):
    """Leaves a symbolic link."""

    def prepare(self, misc_path, data, cfgs):
        (misc_path / "link").symlink_to("/etc/hostname")
