"""What is added to the residual stream, at which hooks and tokens, while a model runs or writes.

Activation addition (Turner et al., arXiv 2308.10248). One row is added at every chosen token; several rows, token by
token. Knows models and hooks; neither recipes nor how vectors come about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import RunFailedError
from engine.hooks import HookPoint
from engine.models import Model
from engine.taps import editing

Rows = NDArray[np.float64]


class NotFiniteError(RunFailedError):
    """Numbers overflow, or the logits hold NaN or infinity: too much was added for this type of number."""


@dataclass(frozen=True, eq=False)
class Steer:
    """Rows by hook, and the tokens that they are added at."""

    rows: Mapping[HookPoint, Rows]
    """[n, d_hook] each: one row for all tokens, or as many as there are `positions`."""
    start: int
    """First token that is steered."""
    positions: tuple[int, ...] | None = None
    """Token indices in order, the first row at the first of them; None is `start` and every later token."""

    @property
    def settled(self) -> int:
        """The last steered token; the first where steering never ends. What comes behind is counted in damage."""
        return self.start if self.positions is None else max(self.positions)

    @property
    def length(self) -> float:
        """L2 norm of the longest row."""
        with np.errstate(over="ignore"):
            return max(float(np.linalg.norm(rows, axis=1).max()) for rows in self.rows.values())

    def times(self, factor: float) -> Steer:
        """The same at another strength."""
        return replace(self, rows={hook: factor * rows for hook, rows in self.rows.items()})

    def added(self, hook: HookPoint, tokens: range) -> Rows:
        """What is added at a hook to some tokens in a row [tokens, d_hook]."""
        rows = self.rows[hook]
        added = np.zeros((len(tokens), rows.shape[1]))
        if self.positions is None:
            added[max(0, self.start - tokens.start) :] = rows[0]
        else:
            for i, position in enumerate(self.positions):
                if position in tokens:
                    added[position - tokens.start] += rows[i if len(rows) > 1 else 0]
        return added


@contextlib.contextmanager
def steering(model: Model, steer: Steer | None, seen: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """Add rows to every pass inside.

    Args:
        seen: tokens that came in earlier passes, which a cache holds.

    Raises:
        NotFiniteError: The rows are so long that norms overflow, which need not show as NaN.
    """
    if steer is not None and not steer.length**2 < torch.finfo(model.dtype).max:
        raise NotFiniteError("What is added is too long for this type of number: use a smaller strength.")

    def adds(hook: HookPoint) -> Callable[[Tensor], Tensor]:
        def add(hidden: Tensor) -> Tensor:
            assert steer is not None
            rows = steer.added(hook, range(seen(), seen() + hidden.shape[1]))
            if not rows.any():
                return hidden
            return hidden + torch.from_numpy(rows).to(hidden.device, hidden.dtype)

        return add

    with contextlib.ExitStack() as stack:
        for hook in steer.rows if steer is not None else ():
            stack.enter_context(editing(model, hook, adds(hook)))
        yield
