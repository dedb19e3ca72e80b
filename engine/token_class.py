"""What sort of token a base stands on: a hidden covariate of everything measured there.

Residuals of punctuation and of the commonest words depend on far context, those of word fragments on the word itself
(Nanda, Rajamanoharan et al., "Fact Finding" post 5, 2023, which sorts tokens this way). Knows strings only.
"""

from __future__ import annotations

from typing import Final

COMMON: Final = frozenset(
    (
        "the",
        "of",
        "and",
        "to",
        "a",
        "in",
        "is",
        "it",
        "that",
        "for",
        "on",
        "was",
        "with",
        "as",
        "he",
        "be",
        "at",
        "by",
        "i",
        "this",
        "had",
        "not",
        "are",
    )
)
"""The commonest words of English text."""
CARRIERS: Final = frozenset({"BOS", "newline", "full stop", "comma", "punctuation", "common word"})
"""Classes whose residuals carry context more than a meaning of their own."""


def token_class(token: str, is_bos: bool) -> str:
    """One of `CARRIERS`, or `word`, `fragment` (a word goes on), `number`, `other`.

    Args:
        token: as decoded, with the space in front of it where there is one.
        is_bos: whether it is the beginning-of-sequence token.
    """
    text = token.strip(" ")
    if is_bos:
        return "BOS"
    if "\n" in text:
        return "newline"
    if text in (".", "!", "?"):
        return "full stop"
    if text == ",":
        return "comma"
    if text and not any(c.isalnum() for c in text):
        return "punctuation"
    if text.lower() in COMMON and (token.startswith(" ") or text[:1].isupper()):
        return "common word"
    if text.isalpha():
        return "word" if token.startswith(" ") or text[:1].isupper() else "fragment"
    return "number" if text.isdigit() else "other"
