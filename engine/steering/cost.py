"""What the vectors of a run cost: on its held-out texts, and behind windows of its population.

Knows laboratories and steers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.contrasts import mean_of
from engine.errors import RecipeError
from engine.laboratory import Laboratory
from engine.passages import spread
from engine.steering.damage import Damage, HeldOut, kl_after
from engine.steering.steer import NotFiniteError, Steer

if TYPE_CHECKING:
    from engine.experiments.steering import SteeringOptions

UNRELATED: Final = 64
"""Windows of the population that a KL is taken behind."""
TEXT_TOKENS: Final = 64
COUNTED_TOKENS: Final = (32, 16, 8)
"""At least as many predictions of a text are counted, the first that the texts are long enough for."""
COSTS: Final = (
    "ce_clean", "ce_steered", "delta_ce", "delta_low", "delta_high", "kl", "kl_prompts", "behind", "counted", "texts",
)  # fmt: skip


class Costs:
    """Texts of one run, on which all of its vectors are measured alike.

    Raises:
        RecipeError: No text is long enough for a prediction behind the steered tokens.
    """

    def __init__(self, lab: Laboratory, options: SteeringOptions, steers: Sequence[Steer]) -> None:
        self._lab = lab
        self._behind = max(steer.settled for steer in steers)
        rows, documents = self._passages(options)
        self._texts = HeldOut(lab.model, rows, lab.checkpoint)
        self.notes = list(self._noted(options, steers, rows, documents))
        """What a reader should know."""

    def _passages(self, options: SteeringOptions) -> tuple[NDArray[np.int64], int]:
        lab, behind = self._lab, self._behind
        wanted = [max(TEXT_TOKENS, behind + 2 + n) for n in COUNTED_TOKENS] + [behind + 2 + n for n in COUNTED_TOKENS]
        if options.text_tokens is not None:
            wanted = [options.text_tokens]
        problem = RecipeError()
        for tokens in wanted:
            if min(tokens, lab.model.context) < behind + 3:
                raise RecipeError(
                    f"Texts of {min(tokens, lab.model.context)} tokens have no prediction behind token {behind}, the "
                    "last that is steered: raise options.text_tokens or shorten the prompt."
                )
            try:
                return spread(lab, options.texts, tokens, options.held_out)
            except RecipeError as error:
                problem = error
        raise RecipeError(f"options.held_out: {problem}")

    def _noted(
        self, options: SteeringOptions, steers: Sequence[Steer], rows: NDArray[np.int64], documents: int
    ) -> Sequence[str]:
        found = []
        if len(rows) < options.texts:
            found.append(f"There are {len(rows)} held-out texts of {rows.shape[1]} tokens, not {options.texts}.")
        if options.text_tokens is not None and rows.shape[1] < options.text_tokens:
            found.append(f"Held-out texts end with the context, after {rows.shape[1]} tokens.")
        if documents < len(rows):
            found.append(
                f"The {len(rows)} held-out texts are pieces of {documents} documents, so intervals over them are too "
                "narrow."
            )
        if len({steer.settled for steer in steers}) > 1:
            found.append(
                f"The vectors end at different tokens: the damage of all is counted behind token {self._behind}, "
                "farther from those that end earlier."
            )
        if options.held_out == self._lab.recipe.population.prompts:
            found.append("Held-out texts are those of the population too: use other options.held_out.")
        return found

    def held_out(self, steer: Steer) -> Damage:
        """The damage on held-out text.

        Raises:
            NotFiniteError: Logits are not finite.
        """
        return self._texts.damage(steer, self._behind)

    def of(self, steer: Steer) -> dict[str, Any]:
        """All costs of a steer, by column; nothing where the model breaks."""
        windows = self._lab.population.token_ids[:UNRELATED].astype(np.int64)
        reached = steer.positions is None or any(position < windows.shape[1] for position in steer.positions)
        try:
            damage = self.held_out(steer)
            # Where no token of a prompt is steered, that KL is none of the vector's.
            behind = kl_after(self._lab.model, windows, steer) if reached else None
        except NotFiniteError:
            return dict.fromkeys(COSTS)
        over_texts = mean_of(damage.delta_by_text)
        values = (
            damage.ce_clean,
            damage.ce_steered,
            damage.delta_ce,
            _known(over_texts.low),
            _known(over_texts.high),
            damage.kl,
            behind,
            self._behind,
            damage.counted,
            len(damage.delta_by_text),
        )
        return dict(zip(COSTS, values, strict=True))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
