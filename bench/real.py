"""Sweeps of real models, by rapidfire, by hand and by Ray Tune, in one run: `python -m bench.real`.

Four runs each, on two processes and the demo data of the templates: a ViT on images, an encoder on texts,
LoRA adapters on a pretrained language model. Everybody calls the same MLSpec. What is compared are the
seconds from the first run's start to the last one's end, loading and preparing included, start-up and the
imports of the MLSpec left out. Ray Tune starts a process for each trial, so those imports are part of what it
takes. The rounds of all are interleaved. Machines are noisy: read the ratios. Losses must have the same bits.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.work import Outcome, Work
from rapidfire_cli.app.templates import Name
from rapidfire_cli.app.verbs.init import init

ROOT = Path(__file__).parents[1]
LIMIT = 1.05  # of the seconds by hand
ROUNDS = 3
OURS, BY_HAND, RAY = "rapidfire", "two processes, by hand", "Ray Tune"
CONTENDERS = {  # module, library it needs
    OURS: ("rapidfire", "rapidfire_cli"),
    BY_HAND: ("real_by_hand", "torch"),
    RAY: ("ray_tune", "ray"),
}
TRAIN = {"train.optimizer.name": "AdamW", "train.batch_size": 32}


def sweeps(place: Path) -> Mapping[str, tuple[Name, Work]]:
    """The sweeps, on demo data below a directory."""
    vit = Work(
        mlspec="specs.imagenet:ImageNetSpec",
        data={"path": "imagefolder", "data_dir": str(place / "data/digits")},
        constants={
            **TRAIN,
            "train.epochs": 16,
            "user_knobs.model_type": "vit",
            "user_knobs.transform_type": "resize",
            "user_knobs.image_size": 16,
            "user_knobs.num_classes": 10,
            "user_knobs.width": 32,
        },
        axes={"user_knobs.depth": [1, 2], "train.optimizer.args.lr": [1e-3, 3e-3]},
    )
    passages = {split: str(place / f"data/passages_{split}.csv") for split in ("train", "validation")}
    encoder = Work(
        mlspec="specs.imdb:IMDBSpec",
        data={"path": "csv", "data_files": passages},
        constants={
            **TRAIN,
            "train.epochs": 6,
            "user_knobs.num_classes": 4,
            "user_knobs.vocab_size": 512,
            "user_knobs.max_length": 48,
            "user_knobs.width": 64,
        },
        axes={"user_knobs.depth": [1, 2], "train.optimizer.args.lr": [1e-3, 3e-3]},
    )
    sources = {split: str(place / f"data/sources_{split}.txt") for split in ("train", "validation")}
    lora = Work(
        mlspec="specs.causal_lm:CausalLMSpec",
        data={"path": "text", "sample_by": "paragraph", "data_files": sources},
        constants={
            **TRAIN,
            "train.epochs": 4,
            "user_knobs.pretrained": str(place / "data/base"),
            "user_knobs.context": 48,
            "user_knobs.adapter.lora_alpha": 16,
            "user_knobs.adapter.target_modules": ["c_attn", "c_fc"],
            "user_knobs.adapter.fan_in_fan_out": True,
        },
        axes={"user_knobs.adapter.r": [4, 16], "train.optimizer.args.lr": [3e-3, 1e-2]},
    )
    return {"ViT on images": ("imagenet", vit), "encoder on texts": ("imdb", encoder), "LoRA": ("lora", lora)}


def main() -> None:
    """Measure and print; exit with 1 if a ratio is above its limit or a loss differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--sweep", choices=[name for name, _ in sweeps(ROOT).values()], help="only this one")
    chosen = parser.parse_args()
    if one := chosen.one:
        contend = importlib.import_module(f"bench.peers.{CONTENDERS[one][0]}").contend
        print(json.dumps(asdict(contend(Work(**json.load(sys.stdin))))))
        return
    with demo() as place:
        good = [
            told(name, measured(work, chosen.rounds))
            for name, (template, work) in sweeps(place).items()
            if chosen.sweep in (None, template)
        ]
    raise SystemExit(not all(good))


@contextmanager
def demo() -> Iterator[Path]:
    """A directory with the demo data of all sweeps."""
    with TemporaryDirectory(prefix="rapidfire-real-") as folder:
        for template, _ in sweeps(Path(folder)).values():
            with redirect_stdout(sys.stderr):
                init(Path(folder), template)
        yield Path(folder)


def measured(work: Work, rounds: int) -> Mapping[str, Sequence[Outcome]]:
    """The outcomes of all that are installed; Ray Tune once, as it takes long."""
    found: dict[str, list[Outcome]] = {}
    for turn in range(rounds):
        for name, (_, library) in CONTENDERS.items():
            if importlib.util.find_spec(library) and (turn == 0 or name != RAY):
                found.setdefault(name, []).append(_apart(name, work))
    return found


def _apart(name: str, work: Work) -> Outcome:
    """The outcome of a contender in a process of its own."""
    command = [sys.executable, "-m", "bench.real", "--one", name]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    given = json.dumps(asdict(work))
    done = subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, check=False, env=offline
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def told(name: str, found: Mapping[str, Sequence[Outcome]]) -> bool:
    """Print the seconds and ratios; whether ours is within the limit and has the same losses."""
    seconds = {who: median(one.seconds for one in outcomes) for who, outcomes in found.items()}
    print(f"\n{name}: seconds, rapidfire / theirs")
    for who, value in seconds.items():
        print(f"  {who:24} {value:8.2f} s   {seconds[OURS] / value:6.3f}")
    same = found[OURS][0].figures == found[BY_HAND][0].figures
    print(f"  every loss, rapidfire and by hand: {'the same bits' if same else 'DIFFERENT'}")
    return same and seconds[OURS] <= LIMIT * seconds[BY_HAND]


if __name__ == "__main__":
    main()
