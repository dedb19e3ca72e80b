"""What is done to all that reaches the terminal: colours that can be read on light themes, signs in plain ASCII.

Works on lines of any widget, so that none has to know of themes or terminals.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LEGIBLE: Final = 3.0
"""Contrast that WCAG 2.1 asks of graphics and large text."""
_BY_HAND: Final = {
    "▣": "#",
    "▢": "_",
    "◉": "*",
    "●": "*",
    "○": "o",
    "◐": "o",
    "■": "#",
    "◆": "X",
    "▴": "^",
    "▾": "v",
    "▸": ">",
    "▶": ">",
    "▼": "v",
    "‖": "H",
    "·": ".",
    "•": "*",
    "…": "~",
    "→": ">",
    "←": "<",
    "↑": "^",
    "↓": "v",
    "✎": "=",
    "⏎": "/",
    "⇥": "|",
    "␣": "_",
    "−": "-",
    "–": "-",
    "°": "d",
    "Δ": "D",
    "±": "+",
    "×": "x",
    "²": "2",
    "⟨": "<",
    "⟩": ">",
    "≥": ">",
    "≤": "<",
}


def _ascii() -> dict[int, str]:
    """For each sign of ours that is not ASCII, one that is."""
    table = {ord(sign): plain for sign, plain in _BY_HAND.items()}
    for code in range(0x2500, 0x2580):  # box drawing: lines by their direction, everything else is a corner
        name = chr(code)
        table[code] = (
            "=" if name == "━" else "-" if name in "─━┄┅┈┉╌╍═╴╶╸╺╼╾" else "|" if name in "│┃┆┇┊┋╎╏║╵╷╹╻╽╿" else "+"
        )
    for code in range(0x2580, 0x25A0):  # blocks and shades
        table[code] = "#"
    table[0x2591], table[0x2592] = ":", "="
    for code in range(0x2800, 0x2900):  # braille that is left anywhere
        table[code] = "*" if code > 0x2800 else " "
    return table


_ASCII: Final = _ascii()


class Ascii(LineFilter):
    """Our own signs as ASCII ones; text of the user's stays as it is."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Each line as it leaves."""
        return [
            segment
            if segment.text.isascii()
            else Segment(segment.text.translate(_ASCII), segment.style, segment.control)
            for segment in segments
        ]


class Harmless(LineFilter):
    """No control characters: text from files and prompts cannot drive the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Each line as it leaves; they have no width, so taking them out moves nothing."""
        return [
            segment if segment.control or not _CONTROL.search(segment.text) else _without_control(segment)
            for segment in segments
        ]


def _without_control(segment: Segment) -> Segment:
    return Segment(_CONTROL.sub("", segment.text), segment.style)


class Legible(LineFilter):
    """Colours that were chosen for a dark ground, darker where the ground is light."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Each line as it leaves."""
        ground = background.rgb
        return [Segment(text, style and _legible(style, ground), control) for text, style, control in segments]


@lru_cache(4096)
def _legible(style: Style, ground: tuple[int, int, int]) -> Style:
    colour = style.color
    if colour is None or colour.triplet is None:
        return style
    behind = style.bgcolor.triplet if style.bgcolor is not None and style.bgcolor.triplet is not None else None
    on = Color(*(behind or ground))
    if on.brightness < 0.5:
        return style
    ink = was = Color(*colour.triplet)
    for _ in range(20):
        if _contrast(ink, on) >= LEGIBLE:
            break
        red, green, blue = (round(part * 0.88) for part in ink.rgb)
        ink = Color(red, green, blue)
    return style if ink == was else style + Style(color=RichColor.from_rgb(*ink.rgb))


def _contrast(one: Color, other: Color) -> float:
    """By WCAG 2.1: from 1, the same, to 21, black on white."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in colour.normalized]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
