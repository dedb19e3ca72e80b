"""What it costs to put an SAE's reconstruction in place of the activations, at every position of a text.

Loss with the SAE spliced in against the clean loss (delta loss, as in Rajamanoharan et al. 2024, arXiv 2407.14435), and
against zero and mean ablation, which give it a scale; "loss recovered" alone misleads where ablating breaks the model
altogether. A BOS in front is left alone and not counted. Knows models and SAEs; no recipes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.activations import activations_everywhere
from engine.dictionaries.sae import Sae
from engine.hooks import HookPoint
from engine.metrics import kl_rows
from engine.models import Model
from engine.taps import editing


@dataclass(frozen=True)
class SplicedText:
    """One text with its residual stream replaced, means over the positions counted; losses in nats a token."""

    tokens: int
    """Predictions counted."""
    ce_clean: float
    ce_spliced: float
    ce_zero: float
    """With zero in the basis of the hook in place of every activation."""
    ce_mean: float
    """With the mean activation in place of every one."""
    kl: float
    """KL(clean || spliced) of the next-token distribution."""
    l0: float
    """Features active."""
    squared_error: float
    """|x - SAE(x)|^2"""
    squared_distance: float
    """|x - mean|^2; squared_error over this, each averaged over texts, is the unexplained variance."""

    @property
    def delta_ce(self) -> float:
        """What splicing costs."""
        return self.ce_spliced - self.ce_clean


def cut(texts: Sequence[NDArray[np.int32]], bos: int | None, width: int) -> NDArray[np.int64]:
    """Consecutive rows [n, width] of each text, with BOS in front where there is one; what is left over is dropped."""
    room = width - (bos is not None)
    pieces = [text[: len(text) // room * room].reshape(-1, room) for text in texts]
    rows = np.concatenate(pieces).astype(np.int64)
    return rows if bos is None else np.concatenate([np.full((len(rows), 1), bos, dtype=np.int64), rows], axis=1)


@torch.no_grad()
def mean_activation(model: Model, hook: HookPoint, rows: NDArray[np.int64], first: int) -> NDArray[np.float64]:
    """Mean over the positions of texts [n, pos] from `first` on, in the basis: [d_model]."""
    sums = [
        model.to_basis(activations_everywhere(model, hook, torch.from_numpy(part)), hook)[:, first:]
        .cpu()
        .double()
        .sum((0, 1))
        for part in np.array_split(rows, max(1, len(rows) // 32))
    ]
    return np.asarray(_numpy64(torch.stack(sums).sum(0)) / (len(rows) * (rows.shape[1] - first)))


class Texts:
    """Equally long texts on which what lies at a hook is replaced, from `first` on.

    Args:
        rows: token ids [n, pos], BOS included where there is one.
        first: the first position that is replaced and counted: 1 after a BOS.
    """

    @torch.no_grad()
    def __init__(self, model: Model, sae: Sae, hook: HookPoint, rows: NDArray[np.int64], first: int) -> None:
        self._model, self._hook, self._first = model, hook, first
        self._ids = torch.from_numpy(rows).to(model.device)
        self._shape = rows.shape
        self._raw = activations_everywhere(model, hook, self._ids)
        self._basis = model.to_basis(self._raw, hook)
        self.x = _numpy(self._basis).reshape(-1, self._basis.shape[-1])
        """Activations in the basis [n x pos, d]."""
        parts = list(sae.rebuilt(self.x, _numpy((self._raw - self._basis).mean(-1)).reshape(-1)))
        self.active, self.rebuilt = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        """Features active [n x pos], and SAE(x) [n x pos, d]."""
        self._clean = self._logits(None)
        self.ce_clean = self._losses(self._clean)
        """Cross-entropy of each next token, nats [n, predictions counted]."""

    @property
    def counted(self) -> int:
        """Predictions counted in each text."""
        return int(self._shape[1]) - 1 - self._first

    @torch.no_grad()
    def replaced(self, replacement: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """With vectors [n x pos, d] in place: cross-entropy and KL(clean || replaced), [n, predictions counted]."""
        logits = self._logits(replacement)
        kl = kl_rows(self._clean.flatten(0, 1), logits.flatten(0, 1))
        return self._losses(logits), _numpy64(kl).reshape(len(self._clean), -1)

    def each(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """What belongs to the positions counted, of values [n x pos]."""
        return values.reshape(self._shape)[:, self._first : -1].astype(np.float64)

    def _logits(self, replacement: NDArray[np.float64] | None) -> Tensor:
        raw, first = self._raw, self._first
        with contextlib.ExitStack() as stack:
            if replacement is not None:
                wanted = torch.from_numpy(replacement.reshape(self._basis.shape))
                new = (raw.cpu().double() + wanted - self._basis.cpu().double()).to(raw.device, raw.dtype)
                put = torch.cat([raw[:, :first], new[:, first:]], dim=1)
                stack.enter_context(editing(self._model, self._hook, lambda stream: put))
            logits: Tensor = self._model.network(input_ids=self._ids, use_cache=False).logits
        return logits[:, first:-1]

    def _losses(self, logits: Tensor) -> NDArray[np.float64]:
        targets = self._ids[:, self._first + 1 :].cpu().flatten()
        flat = torch.nn.functional.cross_entropy(logits.cpu().double().flatten(0, 1), targets, reduction="none")
        return _numpy64(flat).reshape(len(logits), -1)


def splice(
    model: Model, sae: Sae, hook: HookPoint, rows: NDArray[np.int64], first: int, mean: NDArray[np.float64]
) -> list[SplicedText]:
    """Measure texts [n, pos], one result each.

    Args:
        rows: token ids, BOS included where there is one.
        first: the first position that is replaced and counted: 1 after a BOS.
        mean: of the activations [d_model], for the mean ablation and the variance.
    """
    texts = Texts(model, sae, hook, rows, first)
    ce_spliced, kl = texts.replaced(texts.rebuilt)
    tables = {
        "ce_clean": texts.ce_clean,
        "ce_spliced": ce_spliced,
        "ce_zero": texts.replaced(np.zeros_like(texts.rebuilt))[0],
        "ce_mean": texts.replaced(np.tile(mean, (len(texts.rebuilt), 1)))[0],
        "kl": kl,
        "l0": texts.each(texts.active),
        "squared_error": texts.each(((texts.x - texts.rebuilt) ** 2).sum(-1)),
        "squared_distance": texts.each(((texts.x - mean) ** 2).sum(-1)),
    }
    return [
        SplicedText(texts.counted, **{name: float(values[i].mean()) for name, values in tables.items()})
        for i in range(len(rows))
    ]


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.to(torch.float32).cpu().numpy())


def _numpy64(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.cpu().numpy())
