"""Answer a shell that asks what could be typed next: a word and its meaning per line, in the shell's form."""

import sys
from collections.abc import Iterator, Sequence

from rapidfire_cli.app.completion.bash_line import split
from rapidfire_cli.app.completion.place import Place, Word, place, takes_files

WORDS, WORDS_AND_FILES = 0, 1
"""Exit codes: whether the names of files can be typed as well."""

QUOTES = "'\""


def answer(shell: str, *typed: str) -> int:
    """Print what could be typed next, and return the exit code.

    bash passes the line up to the cursor; the others pass its words after the program's name.
    """
    if shell == "bash":
        line = split(typed[0])
        found = place(line.words[1:])
        replies = [line.reply(text) for text, _ in _matching(found)]
    else:
        found = place([*typed[:-1], typed[-1].lstrip(QUOTES)] if typed else [""])
        replies = [f"{text}\t{meaning}" for text, meaning in _matching(found)]
    sys.stdout.write("".join(f"{reply}\n" for reply in replies))
    return WORDS_AND_FILES if takes_files(found) else WORDS


def _matching(found: Place) -> Iterator[Word]:
    """The whole words that begin with what was typed; none where nothing can be read."""
    for word in found.fixed or _values(found):
        if word.text.startswith(found.text):
            yield Word(f"{found.before}{word.text}", word.help)


def _values(found: Place) -> Sequence[Word]:
    from rapidfire_cli.app.completion.values import words
    from rapidfire_cli.problems import Refusal

    try:
        return words(found)
    except (Refusal, OSError):
        return ()
