"""What a run prints is in its log, by whatever it prints: in every turn, and in nobody else's."""

import io
import logging
import sys

import pytest

from rapidfire_cli.training.log import logged, stream
from tests.training.sandbox import TrainingSandbox, leaf
from tests.training.specs import Blobs

BATCHES = 5  # of an epoch, in training; two in validation


class Says(Blobs):
    """Says something at each batch, by what `prepared` made of the standard streams at the beginning."""

    def initialize_run(self, misc_path, cfg, mode):
        self.say = PREPARED[cfg["user_knobs"]["by"]](cfg["user_knobs"]["name"])

    def compute_forward(self, model, batch, cfg):
        if model.training:
            self.say(f"a batch of {cfg['user_knobs']['name']}")
        return super().compute_forward(model, batch, cfg)


def by_print(name):
    return print


def by_kept_stream(name):
    kept = sys.stdout
    return lambda text: print(text, file=kept)


def by_basic_config(name):
    logging.basicConfig(level=logging.INFO, force=True)
    return logging.info


def by_handler_of_its_own(name):
    logger = logging.getLogger("one.for.all")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    return logger.warning


def by_rich(name):
    from rich.console import Console

    return Console(file=sys.stderr).print


def by_tqdm(name):
    from tqdm import tqdm

    bar = tqdm(total=100, mininterval=0)
    return lambda text: bar.write(text, file=sys.stderr)


def by_wrapped_bytes(name):
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
    return print


def by_detached_bytes(name):
    sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8", line_buffering=True)
    return print


def by_replaced_stream(name):
    class Tee:
        def __init__(self, to):
            self.to = to

        def write(self, text):
            return self.to.write(text)

        def flush(self):
            self.to.flush()

    sys.stdout = Tee(sys.stdout)
    return print


def by_stream_that_was_closed(name):
    sys.stderr.close()
    return lambda text: print(text, file=sys.stderr)


PREPARED = {name.removeprefix("by_"): make for name, make in vars().copy().items() if name.startswith("by_")}


@pytest.mark.parametrize("by", PREPARED)
def test_what_prints_is_made_in_one_turn_and_works_in_the_next(tmp_path, by):
    place = TrainingSandbox(tmp_path, f"{__name__}:Says", chunks=2)
    for tick in (1, 2, 3, 4):
        for run, name in enumerate(("this", "that"), 1):
            place.train(leaf(epochs=2, user_knobs={"by": by, "name": name}), until=tick, run=run)

    assert place.weights(1)
    for run, (name, other) in enumerate((("this", "that"), ("that", "this")), 1):
        assert place.log(run).count(f"a batch of {name}\n") == 2 * BATCHES
        assert f"a batch of {other}" not in place.log(run)
        assert "Logging error" not in place.log(run)


def test_the_next_run_prints_where_one_has_wrapped_what_all_print_to(tmp_path):
    for name in ("one", "other"):
        with logged(tmp_path / name):
            print("größe", name)
            io.TextIOWrapper(sys.stdout.buffer, encoding="ascii")  # closes what it wraps as it goes
            sys.stdout.buffer.close()
            sys.stdout.buffer.raw.close()
            print("still", name)

    for name in ("one", "other"):
        assert (tmp_path / name).read_text(encoding="utf-8") == f"größe {name}\nstill {name}\n"
    assert not stream().closed


def test_characters_that_no_encoding_has_are_escaped(tmp_path):
    with logged(tmp_path / "log"):
        print("a name \udcff")

    assert (tmp_path / "log").read_text(encoding="utf-8") == "a name \\udcff\n"
