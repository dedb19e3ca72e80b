"""What the model writes on from the prompt, with a vector added at the base and every later token, and without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.drawing import Vector

if TYPE_CHECKING:
    from engine.laboratory import Laboratory

WRITINGS_SHOWN: Final = 4
WRITING_TOKENS: Final = 32
WRITING_TEMPERATURE: Final = 0.7


@dataclass(frozen=True)
class Continuations:
    """Unsteered and steered texts; both of a pair drew the same random numbers."""

    pairs: tuple[tuple[str, str], ...]
    added_norm: float
    share_of_norm: float
    """Of the base's own length."""


@dataclass(frozen=True)
class WriteOn:
    """A place along a direction."""

    direction: Vector
    """[d_hook], before normalising."""
    coordinate: float
    """How far along the recipe's path, in its unit."""

    def answer(self, lab: Laboratory) -> Continuations:
        """Draw texts."""
        import numpy as np

        from engine.steering.rollouts import Sampling, rollouts
        from engine.steering.steer import Steer

        model, where = lab.model, lab.where
        offset = lab.ray(lab.site, self.direction, "direction").offsets(np.array([self.coordinate]))[0]
        sampling = Sampling(WRITING_TOKENS, WRITING_TEMPERATURE, lab.seed)
        steer = Steer({where.write: offset[None]}, where.position)
        texts = [
            rollouts(model, where.token_ids, range(WRITINGS_SHOWN), sampling, how, lab.checkpoint).texts(model)
            for how in (None, steer)
        ]
        length = float(np.linalg.norm(offset))
        share = length / float(np.linalg.norm(lab.site.vector.astype(np.float64)))
        return Continuations(tuple(zip(*texts, strict=True)), length, share)
