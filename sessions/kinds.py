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
    "steering-sae": Look("S", (170, 90, 140)),
    "steering-features": Look("d", (220, 150, 200)),
    "sum": Look("+", (180, 200, 120)),
    "combination": Look("C", (90, 210, 170)),
    "fake-feature": Look("F", (140, 150, 90)),
    "real-other-on": Look("O", (250, 160, 90)),
    "real-other-off": Look("o", (190, 110, 60)),
    "synthetic-baseline": Look("b", (130, 170, 255)),
    "synthetic-structured": Look("B", (90, 120, 240)),
    "synthetic-pairwise": Look("a", (150, 100, 220)),
    "synthetic-cooccurring": Look("A", (200, 110, 230)),
    "real-other-sae": Look("t", (200, 170, 60)),
    "interpolation": Look("I", (220, 200, 120)),
    "class-mean": Look("c", (230, 140, 200)),
    "token-embedding": Look("k", (160, 220, 100)),
    "mlp-neuron": Look("n", (110, 190, 190)),
    "principal-component": Look("p", (190, 160, 230)),
    "sae-error-isotropic": Look("w", (180, 140, 140)),
    "sae-error-random": Look("q", (150, 170, 200)),
    "sae-error-mixture": Look("y", (120, 150, 190)),
    "sae-error-norm": Look("l", (200, 170, 150)),
    "null-space": Look("0", (120, 120, 120)),
    "causal-space": Look("1", (240, 220, 90)),
    "file": Look("v", (100, 200, 230)),
    "vector": Look("V", (60, 170, 210)),
}
_BASES: Final = {
    "prompt": Look("P", (235, 235, 235)),
    "real": Look("R", (230, 120, 30)),
    "real-other@site": Look("H", (240, 190, 60)),
    "sae-reconstruction": Look("t", (200, 170, 60)),
    "sae-reconstruction@site": Look("T", (220, 200, 120)),
    "pursuit-reconstruction": Look("u", (90, 210, 170)),
    "pursuit-reconstruction@site": Look("U", (60, 170, 140)),
}
"""Looks of bases that are not kinds of direction too."""
_OTHER: Final = Look("x", (220, 220, 120))
ORDER: Final = tuple(_LOOKS)
"""Kinds in the order lists show them."""
USUAL: Final = ORDER[:8]
"""Kinds that are listed whether they are ticked or not."""


def look(kind: str) -> Look:
    """The look of a kind of direction or base; new kinds share one until they are given their own."""
    return _LOOKS.get(kind) or _BASES.get(kind, _OTHER)


def dimmed(rgb: RGB) -> RGB:
    """The colour of what stands behind."""
    return rgb[0] * 6 // 10, rgb[1] * 6 // 10, rgb[2] * 6 // 10
