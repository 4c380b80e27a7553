"""Mutated files, read in a process that may die of them: `python -m tests.syntax.fuzz SEED FIRST COUNT NOTE`.

The process holds itself to the campaign's limits: beyond them, or at a crash, the file NOTE says at which
input it was, and `inputs` makes that input again.
"""

import mmap
import re
import resource
import signal
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from rapidfire_cli.manifest.check import checked
from rapidfire_cli.manifest.choice import chooser
from rapidfire_cli.manifest.counting import total
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.identity import digest
from rapidfire_cli.problems import Problem, Refusal, SourceName, Span, render
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.extends import Source
from rapidfire_cli.syntax.overrides import SET, UNSET, arguments
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.printer import to_json, to_toml, to_yaml

SECONDS = 3  # of CPU per input, and again for printing and reading it in each notation
MEMORY = 500 * 2**20  # bytes of address space of the whole process
PRINTERS = {".yaml": to_yaml, ".toml": to_toml, ".json": to_json}

ROOT = Path(__file__).parents[2]
SMALL = 4096  # bytes; large files cost time without being stranger
TOKENS = [
    *[
        b"[",
        b"]",
        b"{",
        b"}",
        b": ",
        b", ",
        b"\n",
        b"- ",
        b"? ",
        b"=",
        b".",
        b'"',
        b"'",
        b'"""',
        b"#",
        b"\\",
        b"|",
        b"\t",
    ],
    *[
        b"!list ",
        b"!range ",
        b'"!list"',
        b'"!range"',
        b'"!null"',
        b"!!int ",
        b"&a ",
        b"*a",
        b"<<: ",
        b"---\n",
        b"[[",
    ],
    *[
        b"null",
        b"true",
        b"1e999",
        b"-0.0",
        b"9" * 25,
        b"nan",
        b".inf",
        b"2024-05-01",
        b"\\u0000",
        b"\\ud800",
        b"0x",
    ],
    *[
        b"extends: x.yaml\n",
        b'extends = "x.toml"\n',
        b"start",
        b"end",
        b"log",
        b"step",
        b"dtype",
        b"num_runs: 3\n",
    ],
    *[b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\r", "日本".encode()],
]
WORD = re.compile(rb"[\w.+-]+|\s+|.", re.DOTALL)
NAME = re.compile(rb"[A-Za-z_]\w*")
VALUE = re.compile(rb"[-+.]?[0-9][\w.+-]*")
VALUES = [
    b"null",
    b"true",
    b"-1",
    b"0",
    b"0.5",
    b"1e-3",
    b"[]",
    b"{}",
    b'"x"',
    b"1e999",
    b"9" * 25,
    b"[1, 2]",
    b"[[1], {}]",
]
NAMES = [
    *[
        b"config",
        b"gridsearch",
        b"randomsearch",
        b"sha",
        b"hyperband",
        b"search",
        b"pbt",
        b"config_group",
        b"extends",
        b"train",
        b"name",
    ],
    *[
        b"epochs",
        b"num_runs",
        b"max_epochs",
        b"replicates",
        b"metric",
        b"args",
        b"start",
        b"log",
        b"step",
        b"user_knobs",
    ],
]
CONDITIONS = [
    b"train.batch_size == 128",
    b"train.epochs * train.batch_size / 1e3 <= -2.5 and not user_knobs.model in ['mlp', \"cnn\", null]",
    b'(train.optimizer.args.lr > 0.1 or user_knobs."a b".0 != true) and 1 < train.epochs // 2 % 3 < 9',
    b"not (not (user_knobs.a == [1, [2, 3]])) or 'it''s' in user_knobs.name or ((((-(-1)))))",
]
PATHS = [
    *["train.epochs", "user_knobs", "2:train", "+user_knobs.a.b", "seed", "data.x", "config_group", '"a"', ""]
]


@dataclass(frozen=True, slots=True)
class Input:
    """A file as hostile as chance made it, and what the command line adds."""

    name: str
    data: bytes
    sets: tuple[str, ...] = ()
    unsets: tuple[str, ...] = ()
    condition: str = "true"


def corpus() -> dict[str, list[bytes]]:
    """By notation: the shipped, golden and hostile files, and what is valid among them in every notation."""
    folders = [
        ROOT / "configs",
        *(ROOT / "rapidfire_cli" / "catalogue").iterdir(),
        ROOT / "tests/syntax/hostile",
    ]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix in PRINTERS]
    found: dict[str, list[bytes]] = {suffix: [] for suffix in PRINTERS}
    for path in files:
        data = path.read_bytes()
        if len(data) > SMALL:
            continue
        found[path.suffix].append(data)
        for suffix, text in printed(data, path.name).items():
            found[suffix].append(text.encode())
    return found


def printed(data: bytes, name: str) -> dict[str, str]:
    """A valid file in every notation; nothing of one that is refused."""
    try:
        file = parse(data, name)
    except Refusal:
        return {}
    return {suffix: to_text(file) for suffix, to_text in PRINTERS.items()}


def mutated(source: bytes, others: list[bytes], chance: Random) -> bytes:
    """The source with a few bytes changed, cut, doubled, repeated or taken from another file."""
    text = bytearray(source)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(text) + 1), chance.randint(0, 12)
        other = chance.choice(others)
        start = chance.randrange(len(other) + 1)
        token = chance.choice(TOKENS)
        text[at : at + length] = chance.choice(
            [
                *[b"", token, token * chance.choice([2, 70, 3000]), bytes(text[at : at + length]) * 2],
                *[
                    other[start : start + length],
                    other[start : start + 20 * length],
                    bytes([chance.randrange(256)]),
                ],
            ]
        )
    return bytes(text)


def reworded(source: bytes, others: list[bytes], chance: Random) -> bytes:
    """The source with a few names and values replaced, doubled or swapped: mostly still of its notation."""
    words = WORD.findall(source)
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice([NAME, VALUE])
        places = [place for place, word in enumerate(words) if kind.fullmatch(word)]
        if not places:
            continue
        at, other = chance.choice(places), chance.choice(places)
        match chance.randrange(4):
            case 0:
                strange = [word for word in WORD.findall(chance.choice(others)) if kind.fullmatch(word)]
                words[at] = chance.choice(strange or [b"x"])
            case 1:
                words[at] = chance.choice(NAMES if kind is NAME else VALUES)
            case 2:
                words[at] = chance.choice([b"", words[at] * 2])
            case _:
                words[at], words[other] = words[other], words[at]
    return b"".join(words)


def inputs(found: dict[str, list[bytes]], seed: int, index: int) -> Input:
    """The input of this number; the same ever again."""
    chance = Random(f"{seed}:{index}")
    suffix = chance.choice(list(PRINTERS))
    change = chance.choice([mutated, reworded, reworded])
    data = change(chance.choice(found[suffix]), found[suffix], chance)
    kind = chance.random()
    if kind < 0.6:
        return Input(f"f{suffix}", data)
    if kind < 0.8:
        return Input(f"f{suffix}", data, condition=condition(chance))
    said = [f"{path}={value.decode(errors='surrogateescape')}" for path in PATHS for value in TOKENS]
    return Input(f"f{suffix}", data, tuple(chance.sample(said, 2)), tuple(chance.sample(PATHS, 1)))


def condition(chance: Random) -> str:
    """The argument of `--filter`."""
    change = chance.choice([mutated, reworded])
    return change(chance.choice(CONDITIONS), CONDITIONS, chance).decode("utf-8", "surrogateescape")


def attempt(given: Input, found: dict[str, list[bytes]]) -> None:  # pragma: no cover
    """Understand the input, or refuse it with located problems; what is understood prints as it means."""

    def neighbour(path: str, _file: str) -> Source:
        suffix = Path(path).suffix
        if suffix not in found:
            raise Refusal([Problem("E501", "file not found", Span(path, 1, 1))])
        return Source(path, found[suffix][len(path) % len(found[suffix])])

    start_the_clock()
    said = [*arguments(UNSET, given.unsets), *arguments(SET, given.sets)]
    try:
        file = checked(parse(given.data, given.name, opener=neighbour, arguments=said))
        understood(file)
        chosen = chooser(
            file, given.condition, Span(SourceName("--filter", given.condition), 1, 1, len(given.condition))
        )
        sum(map(chosen, islice(expand(file), 3)))
    except Refusal as refusal:
        assert refusal.problems
        for problem in refusal.problems[:20]:
            assert problem.span is not None
            render(problem).encode()


def understood(file: ExperimentFile) -> None:  # pragma: no cover
    """The file can be counted, previewed and printed."""
    total(file)
    for _ in islice(expand(file), 3):
        pass
    for suffix, to_text in PRINTERS.items():
        start_the_clock()
        again = parse(to_text(file).encode(), f"f{suffix}", max_bytes=2**22)
        assert (again, digest(again)) == (file, digest(file)), suffix


def start_the_clock() -> None:
    """Give the process its seconds; the signal at their end ends it."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)


def main(seed: int, first: int, count: int, note: Path) -> None:
    """Attempt the inputs from `first` on, within the limits."""
    found = corpus()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with note.open("w+b") as file:
        file.truncate(8)
        with mmap.mmap(file.fileno(), 8) as at:
            for index in range(first, first + count):
                at[:] = index.to_bytes(8, "big")
                attempt(inputs(found, seed, index), found)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
