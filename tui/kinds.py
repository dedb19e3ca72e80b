"""How direction kinds look: one colour and one letter each, so that nothing is told by colour alone.

Colours are Okabe & Ito's, which colour-blind readers can tell apart. Knows looks only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """Colour and letter of a direction kind."""

    letter: str
    rgb: RGB

    @property
    def style(self) -> str:
        """The colour as a style for rich."""
        return "#{:02x}{:02x}{:02x}".format(*self.rgb)


_LOOKS: Final = {
    "random": Look("r", (86, 180, 233)),
    "real-other": Look("R", (230, 120, 30)),
    "isotropic": Look("i", (150, 150, 150)),
    "random-mixture": Look("m", (0, 130, 200)),
    "real-mixture": Look("M", (240, 190, 60)),
    "sae-feature": Look("f", (0, 178, 130)),
    "sae-error": Look("e", (213, 94, 94)),
    "steering": Look("s", (204, 121, 167)),
}
_OTHER: Final = Look("x", (220, 220, 120))
ORDER: Final = tuple(_LOOKS)
"""Kinds in the order lists show them."""


def look(kind: str) -> Look:
    """The look of a kind; new kinds share one until they are given their own."""
    return _LOOKS.get(kind, _OTHER)


def dimmed(rgb: RGB) -> RGB:
    """The colour of what stands behind."""
    return rgb[0] * 6 // 10, rgb[1] * 6 // 10, rgb[2] * 6 // 10
