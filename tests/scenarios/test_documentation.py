"""What README and docs show works as it is shown: commands, options, error texts, experiment files, paths."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from rapidfire_cli import cli
from rapidfire_cli.manifest.counting import total
from rapidfire_cli.syntax.keys import GROUP_KEYS
from rapidfire_cli.syntax.parser import parse
from tests.scenarios.conftest import ROOT, Cli
from tests.view.page.built import page_bundle

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += [
    page
    for page in sorted((ROOT / "docs").glob("*.md"))
    if page.stem not in ("DECISIONS", "reliability-report")
]
TOOL = "rapidfire"
MODEL = """\
mlspec: specs.digits:DigitsSpec
objective: {metric: top1_accuracy, direction: max}
"""
GRID = f"""\
{MODEL}gridsearch:
  user_knobs: {{model: mlp, hidden: !list [32, 64], dropout: !list [0.0, 0.1]}}
  train:
    epochs: 4
    batch_size: !list [64, 128]
    optimizer: {{name: Adam, args: {{lr: 1e-2}}}}
  named_metrics: [top1_accuracy]
"""
HALVING = f"""\
{MODEL}sha:
  num_runs: 8
  min_epochs: 1
  max_epochs: 4
  reduction_factor: 2
  metric: top1_accuracy
  direction: max
  user_knobs: {{model: mlp, hidden: 16, dropout: 0.0}}
  train:
    batch_size: 64
    optimizer: {{name: Adam, args: {{lr: !range {{start: 1e-4, end: 1e-2, log: true}}}}}}
  named_metrics: [top1_accuracy]
"""


class Shown(NamedTuple):
    """A command line as a page shows it."""

    page: str
    line: str
    comment: str = ""
    output: str | None = None  # what the page says that it prints


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks with their language, and the indented ones with none."""
    fenced = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [*fenced, *(("", block) for block in re.findall(r"(?:^    .*\n)+", rest, re.MULTILINE))]


def commands() -> list[Shown]:
    """Every command line in a block; of console blocks with what it prints."""
    found = []
    for page in PAGES:
        for language, block in blocks(page.read_text("utf-8")):
            if language == "console":
                line, _, output = block.partition("\n")
                found.append(Shown(page.name, line.removeprefix("$ "), output=output))
            elif language == "":
                for line in block.splitlines():
                    command, _, comment = line.strip().partition("  # ")
                    if re.match(rf"{TOOL} |make |pip ", command):
                        found.append(Shown(page.name, command.strip(), comment))
    return found


def mentions() -> list[Shown]:
    """Command lines inside sentences, which may leave arguments out."""
    found = []
    for page in PAGES:
        codes = re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))
        lines = [
            code for code in codes if re.match(rf"({TOOL}|make|python|RAPIDFIRE_FAULT=.* {TOOL}) ", code)
        ]
        found += [Shown(page.name, line) for line in lines]
    return found


IN_ORDER = ("tutorial.md", "lora.md")  # whose commands tests of their own run
BEGUN = ("seeing.md", "control.md", "after-the-sweep.md", "web.md")  # which show what was trained before
LASTING = ("top", "web")  # verbs that go on until somebody ends them; tests of their own run them
RUN = [
    shown
    for shown in commands()
    if shown.line.startswith(TOOL) and shown.page not in IN_ORDER and shown.line.split()[1] not in LASTING
]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
VERBS: Any = typer.main.get_command(cli.cli)


def verb_and_options(line: str) -> tuple[Any, set[str]]:
    """The verb of a line, and the options it has."""
    words = shlex.split(line)
    words = words[words.index(TOOL) + 1 :]
    return VERBS.commands[words[0]], {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


def options_of(verb: Any) -> set[str]:
    return {"--help"} | {
        option for parameter in verb.params for option in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Cli]:
    """For each page a directory in which its commands were run, in its order, up to the one asked for."""
    made = {page.name: _place(tmp_path_factory.mktemp(page.stem), page.name) for page in PAGES}
    first, *others = (made[name] for name in BEGUN)
    first.run("fit", "configs/digits.yaml")
    for other in others:
        shutil.copytree(first.path / "rapidfire_experiments", other.path / "rapidfire_experiments")
    return made


def _place(path: Path, page: str) -> Cli:
    for directory in ("specs", "configs", ".vscode"):
        (path / directory).mkdir()
    shutil.copy(ROOT / "specs" / "digits.py", path / "specs")
    for name in ("digits.yaml", "a.yaml", "b.yaml"):
        (path / "configs" / name).write_text(HALVING if page == "successive-halving.md" else GRID)
    for line in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m first"):
        subprocess.run(["git", *line.split()], cwd=path, check=True)
    scan = json.dumps({"image": [[8] * 8] * 8})
    (path / "scans.jsonl").write_text(f"{scan}\n{scan}\n")
    return Cli(path)


def ran(cli: Cli, line: str) -> subprocess.CompletedProcess[str]:
    """A line of a page as a person would type it, with their own files."""
    line = re.sub(r"\bFILE\b", "configs/digits.yaml", line)
    line = re.sub(r"\bA B\b", "configs/a.yaml configs/b.yaml", line)
    _, *words = shlex.split(line)
    if ">" not in words:
        process = cli.start(*words)
        printed, said = process.communicate()
        return subprocess.CompletedProcess(line, process.wait(), printed, said)
    typed = line.replace(f"{TOOL} ", f"{shlex.join(cli.command())} ", 1)
    return subprocess.run(
        typed, shell=True, cwd=cli.path, env=cli.environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "shown",
    [shown for shown in RUN if shown.output is None],
    ids=lambda shown: f"{shown.page}: {shown.line}",
)
def test_a_command_that_is_shown_does_its_work(places, shown):
    if shown.line.split()[1] == "report":
        page_bundle()
    done = ran(places[shown.page], shown.line)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    if shown.comment.endswith("…"):  # which quotes what it prints, apart from the numbers
        quoted = shown.comment.partition(": ")[2].removesuffix("…").split()
        words = [re.sub(r"(\d|\\\.)+", lambda _: r"[\d.]+", re.escape(word)) for word in quoted]
        pattern = r"\s+".join(words)
        cli = places[shown.page]
        told = [ran(cli, f"{TOOL} why {run}").stdout for run in range(1, 9)]
        assert any(re.search(pattern, each) for each in told), f"{pattern}\n{told}"


@pytest.mark.parametrize(
    "shown", [shown for shown in RUN if shown.output is not None], ids=lambda shown: shown.line
)
def test_what_a_command_is_shown_to_print_is_what_it_prints(shown):
    done = ran(Cli(ROOT), shown.line)
    assert done.stdout + done.stderr == shown.output


def test_an_error_text_is_quoted_only_with_the_command_that_prints_it():
    for page in PAGES:
        for language, block in blocks(page.read_text("utf-8")):
            assert language == "console" or not re.search(r"(error|warning)\[[EW]\d{3}\]", block), page


@pytest.mark.parametrize("shown", [*commands(), *mentions()], ids=lambda shown: f"{shown.page}: {shown.line}")
def test_a_command_that_is_named_exists_with_its_options(shown):
    first, *words = shlex.split(shown.line)
    if first == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    elif first == "python":
        module = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
        assert all(word in (ROOT / module).read_text("utf-8") for word in words[1:] if word.startswith("--"))
    elif first == "pip":
        assert words[0] == "install" and words[1].removeprefix(".") in (
            "",
            *(f"[{extra}]" for extra in EXTRAS),
        )
    else:
        verb, options = verb_and_options(shown.line.partition(" > ")[0])
        assert options <= options_of(verb)


def test_an_option_that_a_page_names_is_one_of_some_verb():
    verbs = [VERBS, *VERBS.commands.values()]
    known = set().union(*map(options_of, verbs))
    of_others = {
        "--no-deps",
        "--debug",
        "--logdir",
        "--backend-store-uri",
        "--no-kill",
        "--array",
        "--batch",
        "--signal",
    }
    for page in PAGES:
        for code in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")):
            benchmark = re.match(r"python (?:-m bench\.|bench/)(\w+)", code)
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code):
                if benchmark:
                    file = ROOT / "bench" / f"{benchmark[1]}.py"
                    assert f'"{option}"' in file.read_text("utf-8"), f"{page.name}: {code}"
                else:
                    assert option in known | of_others, f"{page.name}: {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_experiment_file_that_a_page_shows_is_understood_and_has_the_runs_it_says(page):
    for language, block in blocks(page.read_text("utf-8")):
        opens = [key for key in GROUP_KEYS if re.search(rf"^(\[*)({key})\b", block, re.MULTILINE)]
        if language in ("yaml", "toml") and opens and "…" not in block and "extends:" not in block:
            file = parse(block.encode(), f"{page.stem}.{language}")
            if said := re.search(rf"^{opens[0]}:\s+# .*= (\d+) runs", block, re.MULTILINE):
                assert total(file) == int(said[1])


def test_a_path_that_a_page_names_exists():
    places = r"(?:rapidfire_cli|tests|docs|specs|configs|deploy|bench|web)"
    for page in PAGES:
        for path in re.findall(rf"`({places}/[\w./-]*)`|\]\(((?!https?:)[^)#\s]+)", page.read_text("utf-8")):
            named = path[0] or path[1]
            found = (ROOT / named) if path[0] else (page.parent / named)
            assert found.exists(), f"{page.name}: {named}"


def test_the_reading_order_is_that_of_the_import_contract():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = contract["tool"]["importlinter"]["contracts"][0]["layers"]
    (order,) = re.findall(r"^    (terms → .*(?:\n    .*)*)", PAGES[1].read_text("utf-8"), re.MULTILINE)
    assert re.split(r"\s*→\s*", order.strip()) == layers[::-1]
