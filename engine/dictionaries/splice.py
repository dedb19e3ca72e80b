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


@torch.no_grad()
def splice(
    model: Model, sae: Sae, hook: HookPoint, rows: NDArray[np.int64], first: int, mean: NDArray[np.float64]
) -> list[SplicedText]:
    """Measure texts [n, pos], one result each.

    Args:
        rows: token ids, BOS included where there is one.
        first: the first position that is replaced and counted: 1 after a BOS.
        mean: of the activations [d_model], for the mean ablation and the variance.
    """
    ids = torch.from_numpy(rows).to(model.device)
    raw = activations_everywhere(model, hook, ids)
    basis = model.to_basis(raw, hook)
    x = _numpy(basis).reshape(-1, model.d_model)
    removed = _numpy((raw - basis).mean(-1)).reshape(-1)
    parts = list(sae.rebuilt(x, removed))
    active, rebuilt = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    shape = (*rows.shape, model.d_model)

    def run(replacement: NDArray[np.float64] | None) -> Tensor:
        """Logits of the predictions counted, with the replacement [n x pos, d_model] written from `first` on."""
        with contextlib.ExitStack() as stack:
            if replacement is not None:
                wanted = torch.from_numpy(replacement.reshape(shape))
                new = (raw.cpu().double() + wanted - basis.cpu().double()).to(raw.device, raw.dtype)
                put = torch.cat([raw[:, :first], new[:, first:]], dim=1)
                stack.enter_context(editing(model, hook, lambda stream: put))
            logits: Tensor = model.network(input_ids=ids, use_cache=False).logits
        return logits[:, first:-1]

    def losses(logits: Tensor) -> NDArray[np.float64]:
        """Cross-entropy of each next token, [n, predictions counted]."""
        flat = torch.nn.functional.cross_entropy(
            logits.cpu().double().flatten(0, 1), ids[:, first + 1 :].cpu().flatten(), reduction="none"
        )
        return _numpy64(flat).reshape(len(rows), -1)

    def each(values: NDArray[Any]) -> NDArray[np.float64]:
        """What belongs to the positions counted, of values [n x pos]."""
        return values.reshape(rows.shape)[:, first:-1].astype(np.float64)

    clean = run(None)
    spliced = run(rebuilt)
    tables = {
        "ce_clean": losses(clean),
        "ce_spliced": losses(spliced),
        "ce_zero": losses(run(np.zeros_like(rebuilt))),
        "ce_mean": losses(run(np.tile(mean, (len(rebuilt), 1)))),
        "kl": _numpy64(kl_rows(clean.flatten(0, 1), spliced.flatten(0, 1))).reshape(len(rows), -1),
        "l0": each(active),
        "squared_error": each(((x - rebuilt) ** 2).sum(-1)),
        "squared_distance": each(((x - mean) ** 2).sum(-1)),
    }
    counted = rows.shape[1] - 1 - first
    return [
        SplicedText(counted, **{name: float(values[i].mean()) for name, values in tables.items()})
        for i in range(len(rows))
    ]


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.to(torch.float32).cpu().numpy())


def _numpy64(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.cpu().numpy())
