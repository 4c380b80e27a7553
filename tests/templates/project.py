"""An experiment file of `configs/` on its demo data, in the test's own process."""

import json
from pathlib import Path

from rapidfire_cli.app.files import load
from rapidfire_cli.engine.messages import Preparation, Probe
from rapidfire_cli.manifest.expand import expand
from tests.training.sandbox import TrainingSandbox


class Project:
    """An experiment in the working directory, which `init` has filled."""

    def __init__(self, config, changes=()):
        self.file = load(Path(config), changes)
        self.runs = list(expand(self.file))
        self.leaves = [run.leaf for run in self.runs]

    def sandbox(self, directory, **settings):
        """A worker for it, with what `prepare` makes."""
        settings = {"data_cache": 2**28, **settings}
        place = TrainingSandbox(directory, self.file.mlspec, data=self.file.data, **settings)
        place.executor.start()
        leaves = tuple(json.dumps(leaf) for leaf in self.leaves)
        probed = place.executor.probe(Probe(leaves, prepare=Preparation(leaves, self.file.seed)))
        assert probed.findings == (), probed.findings
        return place

    def trained(self, directory, number, epochs=None):
        """The validation metrics of a run after these epochs, or all of its own."""
        place = self.sandbox(directory)
        last = epochs or self.leaves[number - 1]["train"]["epochs"]
        place.train(self.leaves[number - 1], until=last, run=number)
        assert not [told for told in place.told if "Failed" in type(told).__name__], place.told
        return {
            name: value
            for (split, name), value in place.epochs(number)[last].items()
            if split == "validation"
        }
