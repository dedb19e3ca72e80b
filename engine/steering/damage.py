"""What steering costs on texts that have nothing to do with it: loss and KL of the next token, teacher-forced.

The spliced LLM loss of Conmy & Nanda ("Activation Steering with SAEs", GDM mechanistic interpretability team's progress
update #1, 2024): mean cross-entropy on ordinary text with the vector added, over predictions made behind the steered
tokens. Where steering never ends, over predictions made behind its first token. Knows models; no recipes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.metrics import kl_rows
from engine.models import Model
from engine.passages import at_once
from engine.steering.steer import NotFiniteError, Steer, steering
from engine.taps import pausing

KEPT_BYTES: Final = 400_000_000
"""Logits of unsteered passes are kept up to this size."""


@dataclass(frozen=True, eq=False)
class Damage:
    """Over all predictions counted, and over texts."""

    ce_clean: float
    """Mean cross-entropy, nats a token."""
    ce_steered: float
    kl: float
    """Mean KL(unsteered || steered) of the same predictions, nats."""
    delta_by_text: NDArray[np.float64]
    """Steered minus unsteered cross-entropy of each text [n]."""
    counted: int
    """Predictions of each text."""

    @property
    def delta_ce(self) -> float:
        return self.ce_steered - self.ce_clean


class HeldOut:
    """Equally long texts that steering is measured on.

    Args:
        rows: token ids [n, pos], BOS included where there is one.
        pause: called before every block; may raise to end the measuring.
    """

    def __init__(self, model: Model, rows: NDArray[np.int64], pause: Callable[[], None] = lambda: None) -> None:
        self._model, self._pause = model, pause
        self.parts = _parts(model, rows)
        self.shape = rows.shape
        self._keeps = rows.size * model.d_vocab * 4 <= KEPT_BYTES
        self._clean: dict[int, Tensor] = {}

    def damage(self, steer: Steer, behind: int) -> Damage:
        """What a steer costs here.

        Args:
            behind: predictions made at later tokens than this are counted, the same for all that are compared.

        Raises:
            NotFiniteError: Logits are not finite.
        """
        first = behind + 1
        losses, gaps = [], []
        for i, ids in enumerate(self.parts):
            clean, steered = self._unsteered(i)[:, first:-1], self._logits(ids, steer)[:, first:-1]
            targets = torch.from_numpy(ids[:, first + 1 :])
            losses.append(np.stack([_losses(clean, targets), _losses(steered, targets)]))
            gaps.append(kl_rows(clean.flatten(0, 1), steered.flatten(0, 1)).cpu().double().numpy())
        by_text = np.concatenate(losses, axis=1).mean(-1)
        counted = self.shape[1] - 1 - first
        ce_clean, ce_steered = (float(side) for side in by_text.mean(1))
        return Damage(ce_clean, ce_steered, float(np.concatenate(gaps).mean()), by_text[1] - by_text[0], counted)

    def _unsteered(self, i: int) -> Tensor:
        if i in self._clean:
            return self._clean[i]
        logits = self._logits(self.parts[i], None)
        if self._keeps:
            self._clean[i] = logits
        return logits

    @torch.no_grad()
    def _logits(self, ids: NDArray[np.int64], steer: Steer | None) -> Tensor:
        with pausing(self._model, self._pause), steering(self._model, steer):
            rows = torch.from_numpy(ids).to(self._model.device)
            logits: Tensor = self._model.network(input_ids=rows, use_cache=False).logits
        if not logits.isfinite().all():
            raise NotFiniteError("The steered model gives NaN or infinity on ordinary text: use a smaller strength.")
        return logits


@torch.no_grad()
def kl_after(model: Model, windows: NDArray[np.int64], steer: Steer) -> float:
    """Mean KL(unsteered || steered) of what follows the last token of unrelated prompts [n, pos], nats."""
    found = []
    for rows in _parts(model, windows):
        ids = torch.from_numpy(rows).to(model.device)
        clean = model.network(input_ids=ids, use_cache=False).logits[:, -1]
        with steering(model, steer):
            steered = model.network(input_ids=ids, use_cache=False).logits[:, -1]
        found.append(kl_rows(clean, steered).cpu().double().numpy())
    return float(np.concatenate(found).mean())


def _parts(model: Model, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows that are fed together."""
    several = at_once(model, rows)
    return [rows[start : start + several] for start in range(0, len(rows), several)]


def _losses(logits: Tensor, targets: Tensor) -> NDArray[np.float64]:
    flat = torch.nn.functional.cross_entropy(logits.cpu().double().flatten(0, 1), targets.flatten(), reduction="none")
    return np.asarray(flat.numpy()).reshape(targets.shape)
