"""A line of bash as far as it was typed.

Bash offers the words of the line too, but broken at `=`, `:` and quotes, so that they cannot be told apart.
"""

import re
from dataclasses import dataclass

SPECIAL = re.compile(r"[^\w@%+=:,./-]")
BREAKS = "=:><|;&("
"""After these, outside quotes, bash replaces only the rest of a word (COMP_WORDBREAKS)."""


@dataclass(frozen=True, slots=True)
class Line:
    """The words of the line without their quotes; the last one may be empty."""

    words: tuple[str, ...]
    kept: int  # characters at the beginning of the last word that a completion leaves
    is_quoted: bool  # whether a quote is open at the end

    def reply(self, text: str) -> str:
        """What bash has to insert so that the last word becomes the text."""
        rest = text[self.kept :]
        return rest if self.is_quoted else SPECIAL.sub(r"\\\g<0>", rest)


def split(text: str) -> Line:
    """The words of the text, whose last quote may be open."""
    words, word, kept = list[str](), "", 0
    quote, begun, escaped = "", False, False
    for sign in text:
        if escaped:
            word, escaped = word + sign, False
        elif sign == "\\" and quote != "'":
            escaped = begun = True
        elif quote:
            word, quote = (word, "") if sign == quote else (word + sign, quote)
        elif sign in "'\"":
            quote, begun, kept = sign, True, len(word)
        elif sign.isspace():
            words += [word] if begun else []
            word, begun, kept = "", False, 0
        else:
            word, begun = word + sign, True
            kept = len(word) if sign in BREAKS else kept
    return Line((*words, word), kept, bool(quote))
