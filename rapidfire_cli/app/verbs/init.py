"""`init`: an experiment file, its MLSpec and demo data to start from."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rapidfire_cli.app import demo_data
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.templates import TEMPLATES, File, Name, Template
from rapidfire_cli.durable import disk, publication
from rapidfire_cli.problems import Problem, Refusal, Span


def init(directory: Path, name: Name) -> int:
    """Write the template's files into the directory and print what to type next; return the exit code.

    Files that are there already stay as they are. Raises Refusal if one of them has other content.
    """
    template = TEMPLATES[name]
    _refuse_changed(directory, template.files(), name)
    files = [*_demo_data(name), *template.files()]
    _refuse_changed(directory, files, name)
    place(directory, files)
    sys.stdout.writelines(f"{line}\n" for line in _next(directory, template, files))
    return 0


def place(directory: Path, files: Iterable[File]) -> None:
    """Write the files that are missing, all of them or none. Raises OSError."""
    made = disk.make_directory(directory, lasting=False)
    placed: list[Path] = []
    try:
        publication.sweep(directory)
        with publication.draft(directory / "init") as draft:
            missing = [file for file in files if not (directory / file[0]).exists()]
            for number, (_, content) in enumerate(missing):
                with disk.create(draft / str(number)) as file:
                    file.write(content)
            for number, (path, _) in enumerate(missing):
                target = directory / path
                made = [*disk.make_directory(target.parent, lasting=False), *made]
                disk.rename(draft / str(number), target)
                placed.append(target)
    except BaseException:
        for target in placed:
            disk.unlink(target)
        disk.withdraw(made)
        raise


def _demo_data(name: Name) -> list[File]:
    """The template's demo data. Raises Unavailable if the package that they come from is missing."""
    try:
        return [*demo_data.files(name)]
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        told = f"the template {name} needs scikit-learn; install it with: pip install 'rapidfire-cli[demo]'"
        raise Unavailable(told) from None


def _refuse_changed(directory: Path, files: Iterable[File], name: Name) -> None:
    """Raises Refusal with a problem for each file that is there with other content."""
    hint = f"choose another directory: `rapidfire init DIR --template {name}`"
    paths = [directory / path for path, content in files if _is_other(directory / path, content)]
    problems = [
        Problem("E505", "this file already exists", Span(str(path), 1, 1), hint=hint) for path in paths
    ]
    if problems:
        raise Refusal(problems)


def _is_other(path: Path, content: bytes) -> bool:
    return path.exists() and not (path.is_file() and path.read_bytes() == content)


def _next(directory: Path, template: Template, files: Sequence[File]) -> Iterator[str]:
    """What is there now, and the commands that train it."""
    several = f" and {len(template.configs) - 1} more" if len(template.configs) > 1 else ""
    data = sum(path.startswith("data/") for path, _ in files)
    yield f"{template.configs[0]}{several}, {template.spec}" + (f", data/ ({data:,} files)" if data else "")
    yield "next:"
    if directory != Path():
        yield f"  cd {shlex.quote(str(directory))}"
    yield f"  rapidfire expand {template.configs[0]}"
    yield f"  rapidfire fit {template.configs[0]}"
