"""What the steering screen asks beside its run: texts at a strength that this has not, and the features of a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.laboratory import Laboratory

TEXTS: Final = 4
SHOWN: Final = 200
RAISED: Final = 4


@dataclass(frozen=True)
class SteeredTexts:
    """Completions of one vector at one strength; pairs share their random numbers."""

    number: int
    strength: float
    added_norm: float
    share_of_norm: float
    pairs: tuple[tuple[str, str], ...]
    """Without and with."""


@dataclass(frozen=True)
class TurnedTo:
    """The recipe's vector of a number, at a strength in the recipe's unit."""

    number: int
    strength: float

    def answer(self, lab: Laboratory) -> SteeredTexts:
        """Write a few completions.

        Raises:
            DirectionError: The model breaks at this strength.
        """
        from engine.experiments.steering import SteeringOptions
        from engine.steering.sweep import Sweep

        options = lab.recipe.options
        assert isinstance(options, SteeringOptions)
        few = options.model_copy(update={"samples": min(TEXTS, options.samples)})
        return SteeredTexts(self.number, self.strength, *Sweep(lab, few).texts_at(self.number, self.strength))


@dataclass(frozen=True)
class PairFeature:
    """What an SAE feature adds to a contrast at one token."""

    token: int
    text: str
    """The token of the first plus prompt."""
    feature: int
    plus: float
    minus: float
    length: float
    rate: float
    """Share of the population on which it is active."""
    mark: str
    raised: tuple[str, ...]
    """Output tokens that it raises most by the direct path."""


@dataclass(frozen=True)
class PairFeatures:
    """The features whose activation differs between plus and minus, largest contribution first.

    Dense features mostly cancel: it is the difference that counts (Conmy & Nanda, GDM progress update #1, 2024).
    """

    index: int
    """Which of the recipe's direction tables."""

    def answer(self, lab: Laboratory) -> tuple[PairFeature, ...]:
        """Encode both sides.

        Raises:
            DirectionError: The direction has no two sides.
        """
        from engine.dictionaries.firing import mark
        from engine.directions.steering import SteeringSpec, sides
        from engine.directions.steering_features import parts
        from engine.errors import DirectionError
        from engine.questions.features import output_tokens

        spec = lab.recipe.directions[self.index]
        if not isinstance(spec, SteeringSpec):
            raise DirectionError(f"A {spec.kind} direction has no plus and minus whose features could be compared.")
        plus, minus = sides(spec, lab)
        strings = lab.model.strings([token.token_ids[-1] for token in plus[0]])
        largest = parts(plus, minus, lab)[:SHOWN]
        raised = output_tokens(lab, [part.feature for part in largest])
        rates, looked_at = lab.firing_rates, lab.firing.n
        return tuple(
            PairFeature(
                part.token,
                strings[part.token],
                part.feature,
                part.plus,
                part.minus,
                part.length,
                rate := float(rates[part.feature]),
                mark(rate, looked_at),
                up[:RAISED],
            )
            for part, (up, _) in zip(largest, raised, strict=True)
        )
