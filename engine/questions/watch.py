"""Some features on several prompts: which fire where, and how far the others are from firing.

A detector of one concept can be silenced where a feature that combines it with another fires instead (StefanHex,
shortform on SAE features and model features, 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.laboratory import Laboratory


@dataclass(frozen=True)
class Watched:
    """One feature on one prompt's last token."""

    feature: int
    prompt: str
    activation: float
    before: float | None
    """The encoder's value before its activation function; None where the architecture has none."""


@dataclass(frozen=True)
class WatchFeatures:
    """Features by number, on the site's own activation and on the last tokens of prompts."""

    features: tuple[int, ...]
    prompts: tuple[str, ...]

    def answer(self, lab: Laboratory) -> tuple[Watched, ...]:
        """Encode every prompt.

        Raises:
            DirectionError: There is no such feature.
            PromptError: A prompt is empty or too long.
        """
        from engine.directions.sae_feature import checked_features

        sae = lab.features
        checked_features(sae, self.features)
        found = []
        for prompt in (lab.recipe.site.prompt, *self.prompts):
            base = lab.site if prompt == lab.recipe.site.prompt else lab.reading_of(prompt)
            f, before = sae.activations(base), sae.before(base)
            for i in self.features:
                value = None if before is None else float(before[i])
                found.append(Watched(i, prompt, float(f[i]), value))
        return tuple(found)
