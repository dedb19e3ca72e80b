"""What can be told from completions alone: words of a vocabulary, and how often they repeat themselves.

Numbers of one text each, and the interval of a rate. Knows texts and tokens; no models.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Final

REPEATED: Final = 4
"""Length of the n-grams whose repetition is counted (seq-rep-4, Welleck et al., arXiv 1908.04319)."""
Z95: Final = 1.959964


class Vocabulary:
    """Finds any of some words or phrases as whole words, letter case, accents' encoding and line breaks aside."""

    def __init__(self, words: Sequence[str]) -> None:
        found = [_phrase(plain(word).split()) for word in words if word.strip()]
        self.pattern = re.compile("|".join(found) or r"(?!)", re.IGNORECASE)
        """Of a text as `plain` gives it."""

    def hit(self, text: str, start: int = 0) -> bool:
        """Whether a text holds one that begins at a character or behind it."""
        before = len(plain(text[:start]))
        return self.pattern.search(plain(text), before) is not None


def plain(text: str) -> str:
    """Composed characters, straight apostrophes."""
    return unicodedata.normalize("NFC", text).replace("\u2019", "'")


def _phrase(parts: Sequence[str]) -> str:
    """Words with anything blank between them, at borders of words where these have such borders."""
    inner = r"\s+".join(map(re.escape, parts))
    first, last = parts[0][0], parts[-1][-1]
    before = r"(?<!\w)" if _bordered(first) else ""
    behind = r"(?!\w)" if _bordered(last) else ""
    return f"{before}{inner}{behind}"


def _bordered(character: str) -> bool:
    """Whether words of this character's script are set apart; Chinese, Japanese and Thai ones are not."""
    if not character.isalnum() and character != "_":
        return False
    name = unicodedata.name(character, "")
    return not name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))


def distinct(tokens: Sequence[int], n: int) -> float | None:
    """Share of different n-grams among all (distinct-n, Li et al., arXiv 1510.03055); None where there are none."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def repetition(tokens: Sequence[int]) -> float | None:
    """Share of 4-grams that stood in the text before; None for a text of fewer than four tokens."""
    share = distinct(tokens, REPEATED)
    return None if share is None else 1 - share


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson, 1927), which has a width at 0 and 1 too; 0 to 1 of nothing."""
    if not n:
        return 0.0, 1.0
    rate, z2 = hits / n, Z95**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float]:
    """95 % interval of the difference of two rates over the same samples, first minus second (Newcombe, Statistics in
    Medicine 17, 1998, method 10); it has a width where nothing changes too."""
    n = len(first)
    if not n:
        return -1.0, 1.0
    a = sum(x and y for x, y in zip(first, second, strict=True))
    b, c = sum(first) - a, sum(second) - a
    d = n - a - b - c
    (low1, high1), (low2, high2) = wilson(a + b, n), wilson(a + c, n)
    p1, p2 = (a + b) / n, (a + c) / n
    product, phi = (a + b) * (c + d) * (a + c) * (b + d), 0.0
    if product:
        agreement = a * d - b * c
        corrected = max(agreement - n / 2, 0.0) if agreement > 0 else agreement
        phi = corrected / math.sqrt(product)
    down = (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    up = (high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2
    return p1 - p2 - math.sqrt(max(0.0, down)), p1 - p2 + math.sqrt(max(0.0, up))
