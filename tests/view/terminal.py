"""Terminals just able enough to tell what a person would see, and strict about everything else."""

import io
import re

PIECE = re.compile(r"\x1b\[(?P<numbers>[?\d;]*)(?P<verb>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Terminal:
    """A screen of `width` cells a line that never scrolls; what it does not know is an error."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.cursor_shown = True
        self.highest = 0

    def feed(self, output: str) -> None:
        """Take in everything a program wrote."""
        end = 0
        for piece in PIECE.finditer(output):
            assert piece.start() == end, f"unknown to this terminal: {output[end : end + 20]!r}"
            end = piece.end()
            self._take(piece)
        assert end == len(output)

    @property
    def shown(self) -> list[str]:
        """The lines of the screen, down to the last that holds anything."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip().split("\n")

    def _take(self, piece: re.Match[str]) -> None:
        match piece["verb"], piece["control"]:
            case None, None:
                self._write(piece["text"])
            case None, "\r":
                self.column = 0
            case None, "\n":
                self._down()
            case verb, _:
                self._command(verb, piece["numbers"])

    def _command(self, verb: str, numbers: str) -> None:
        match verb, numbers:
            case "m", _:
                return
            case "A", count:
                self.row -= int(count or 1)
                assert self.row >= 0
            case "K", "2":
                self.lines[self.row] = ""
            case (("h" | "l"), "?25"):
                self.cursor_shown = verb == "h"
            case _:
                raise AssertionError(f"unknown to this terminal: CSI {numbers}{verb}")

    def _down(self) -> None:
        self.row += 1
        self.highest = max(self.highest, self.row + 1)
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def _write(self, text: str) -> None:
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
        self.column += len(text)
        assert self.column <= self.width, f"this line wraps: {self.lines[self.row]!r}"
