"""Counts words once for all runs."""

from torch import nn

from rapidfire_cli.mlspec import MLSpec


class Words(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"text": text} for text in data["texts"]]}

    def prepare(self, misc_path, data, cfgs):
        words = set()
        for row in self.load_data(data, cfgs[0])["train"]:
            words.add(row["words"])
        (misc_path / "words.txt").write_text("\n".join(sorted(words)))

    def create_model(self, cfg):
        return nn.Embedding(2, 2)

    def compute_forward(self, model, batch, cfg):
        return {"loss": model.weight.sum()}
