"""Decode bytes: strict UTF-8, without characters that people and parsers read differently."""

import re
from bisect import bisect_right

from rapidfire_cli.problems import Problem, Refusal, Span

MAX_BYTES = 256 * 1024

UNFIT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_BOM = "\ufeff"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")


def decode(data: bytes, file: str, max_bytes: int = MAX_BYTES) -> str:
    """Decode a file. Raises Refusal when it is too large, not UTF-8, or has an invalid character."""
    if len(data) > max_bytes:
        raise Refusal([_too_large(data, file, max_bytes)])
    try:
        text = data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        raise Refusal([_not_utf8(data, file, error.start)]) from None
    if unfit := UNFIT.search(text):
        raise Refusal([_unfit(text, file, unfit.start())])
    return text


class Lines:
    """The lines of a text: from indices to spans."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._starts = [0, *(end.end() for end in _LINE_END.finditer(text))]

    def span(self, start: int, end: int | None = None) -> Span:
        """The stretch from `start` to before `end`; one character if `end` is None or on another line."""
        line = bisect_right(self._starts, start)
        whole = end is not None and bisect_right(self._starts, end) == line
        return Span(
            self._file, line, start - self._starts[line - 1] + 1, max(1, (end or 0) - start) if whole else 1
        )


def _too_large(data: bytes, file: str, max_bytes: int) -> Problem:
    start = data[:max_bytes].decode("utf-8", errors="replace").removeprefix(_BOM)
    return Problem(
        "E101",
        "the file is too large",
        Lines(start, file).span(len(start)),
        found=f"more than {max_bytes:,} bytes",
        expected=f"at most {max_bytes:,} bytes",
        hint="data belongs in files that the MLSpec loads; --max-spec-bytes raises the limit",
    )


def _not_utf8(data: bytes, file: str, index: int) -> Problem:
    start = data[:index].decode("utf-8").removeprefix(_BOM)
    wide = data.startswith(_WIDE_BOMS)
    return Problem(
        "E102",
        "the file is not UTF-8 text",
        Lines(start, file).span(len(start)),
        found="UTF-16 text" if wide else f"the byte 0x{data[index]:02x}",
        expected="UTF-8",
        hint="save the file as UTF-8 in your editor",
    )


def _unfit(text: str, file: str, index: int) -> Problem:
    return Problem(
        "E103",
        "invalid character",
        Lines(text, file).span(index),
        found=f"U+{ord(text[index]):04X}",
        expected="printable characters, tabs and line ends",
        hint=f'remove it, or write it inside double quotes as "\\u{ord(text[index]):04x}"',
    )
