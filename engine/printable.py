"""Text of models and files on one line of a terminal, which it must not be able to drive.

Knows Unicode categories; no terminal.
"""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The text with a space for each character of white space and a middle dot for each control or format one."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if c.isspace() else "·" if unicodedata.category(c)[0] == "C" else c for c in text)
