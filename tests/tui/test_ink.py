"""What leaves for the terminal: legible on light grounds, plain where plain is asked for."""

from __future__ import annotations

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from sessions.kinds import ORDER, look
from tui.ink import LEGIBLE, Ascii, Harmless, Legible
from tui.surface import ABOVE, BELOW

WHITE = Color(250, 250, 250)


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """WCAG 2.1, written again."""

    def light(rgb: tuple[int, int, int]) -> float:
        parts = [(c / 255 / 12.92) if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("rgb", [*(look(kind).rgb for kind in ORDER), *ABOVE, *BELOW, (235, 235, 235), (255, 255, 0)])
def test_every_colour_of_ours_can_be_read_on_white(rgb: tuple[int, int, int]) -> None:
    (out,) = Legible().apply([Segment("x", Style.parse(f"rgb({rgb[0]},{rgb[1]},{rgb[2]})"))], WHITE)
    assert out.style is not None
    assert out.style.color is not None
    assert out.style.color.triplet is not None
    assert contrast(tuple(out.style.color.triplet), WHITE.rgb) >= LEGIBLE  # type: ignore[arg-type]


def test_dark_grounds_and_colours_that_can_be_read_are_left_alone() -> None:
    dark = Segment("x", Style.parse("rgb(95,95,95)"))
    assert Legible().apply([dark], Color(20, 20, 20)) == [dark]
    blue = Segment("x", Style.parse("rgb(0,0,120)"))
    assert Legible().apply([blue], WHITE) == [blue]
    on_dark = Segment("x", Style.parse("rgb(230,230,230) on rgb(10,10,10)"))
    assert Legible().apply([on_dark], WHITE) == [on_dark]


def test_nothing_that_is_drawn_drives_the_terminal() -> None:
    (out,) = Harmless().apply([Segment("a\x1b]52;c;eA==\x07b\x9b31mc\r\nd\x7f")], WHITE)
    assert out.text == "a]52;c;eA==b31mcd"
    plain = [Segment("שלום 🐱 ▣"), Segment("x", Style.parse("red"))]
    assert Harmless().apply(plain, WHITE) == plain


def test_signs_of_ours_become_ascii_ones_as_wide() -> None:
    ours = "▣▢●○◐◆▴▸▶‖·…→←✎−°╭─╮│╰╯┤├┴┬⠉⣀░▒▓█━┄■"
    (out,) = Ascii().apply([Segment(ours)], WHITE)
    assert out.text.isascii()
    assert len(out.text) == len(ours)
    (theirs,) = Ascii().apply([Segment("שלום 🐱 café")], WHITE)
    assert theirs.text == "שלום 🐱 café", "what the user typed stays"
