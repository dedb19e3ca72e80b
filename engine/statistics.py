"""The population: real activations at one hook and index, from windows cut at random offsets.

Windows have the base's token length and BOS setting and never sit always at a text's start: most stories open with
the same words. Knows how to cut, feed and read windows; does not know directions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.activations import activations
from engine.drawing import Population
from engine.errors import RecipeError
from engine.hooks import HookPoint
from engine.models import Model
from engine.randomness import stream
from engine.texts import Sequences

PAIRS: Final = 1000


@dataclass(frozen=True)
class Window:
    """The shape of a window and where it is read."""

    n_tokens: int
    """With BOS, where there is one."""
    bos: int | None
    index: int


def population_index(position: int, bos: bool) -> tuple[int, str | None]:
    """The index at which the population is read, and a warning where it cannot be the base's own."""
    if bos and position == 0:
        return 1, (
            "Position 0 holds the BOS token, the same in every text: its residual has an odd norm and its population "
            "one member, so the population is read at index 1 instead."
        )
    if position == 0:
        return 0, "Position 0 sees no context: residuals there often have an odd norm."
    return position, None


def cut_windows(texts: Sequences, window: Window, n: int, seed: int) -> NDArray[np.int32]:
    """Up to n different windows [n, n_tokens], in seeded order; a window is its tokens up to the read index.

    Args:
        texts: token sequences without BOS.
        window: shape and read index.
        n: how many are wanted; asking for more keeps the earlier ones.
        seed: of the offsets.

    Raises:
        RecipeError: Fewer than three windows exist.
    """
    width = window.n_tokens - (window.bos is not None)
    room = np.array([max(0, len(t) - width + 1) for t in texts])
    ends = np.cumsum(room)
    total = int(ends[-1]) if len(ends) else 0
    seen: set[tuple[int, ...]] = set()
    rows: list[list[int]] = []
    for place in stream(seed, "population/offsets").permutation(total):
        text = int(np.searchsorted(ends, place, side="right"))
        offset = int(place - (ends[text] - room[text]))
        row = [int(t) for t in texts[text][offset : offset + width]]
        if window.bos is not None:
            row = [window.bos, *row]
        key = tuple(row[: window.index + 1])
        if key not in seen:
            seen.add(key)
            rows.append(row)
            if len(rows) == n:
                break
    if len(rows) < 3:
        raise RecipeError(
            f"The population has {len(rows)} different windows of {window.n_tokens} tokens: its texts are too short "
            "or too few. Use a shorter prompt or other population.prompts."
        )
    return np.array(rows, dtype=np.int32)


def read_windows(
    model: Model,
    hook: HookPoint,
    windows: NDArray[np.int32],
    index: int,
    pause: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feed windows [n, n_tokens]: vectors at the hook and index in the basis [n, d_model], and removed means [n]."""
    # Later tokens cannot reach back to the index.
    ids = torch.from_numpy(windows[:, : index + 1].astype(np.int64))
    raw = activations(model, hook, ids, index, pause)
    vectors = model.to_basis(raw, hook)
    means = (raw - vectors).mean(-1)
    return _numpy(vectors), _numpy(means)


def _numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.to(torch.float32).cpu().numpy())


def summarise(
    vectors: NDArray[np.float32],
    means: NDArray[np.float32],
    windows: NDArray[np.int32],
    index: int,
    seed: int,
    warnings: tuple[str, ...] = (),
) -> Population:
    """The population of these vectors [n, d_model], means [n] and windows [n, n_tokens], with its typical distance."""
    n, d_model = vectors.shape
    rng = stream(seed, "population/pairs")
    first = rng.integers(0, n, PAIRS)
    second = (first + rng.integers(1, n, PAIRS)) % n
    distances = np.linalg.norm(vectors[first].astype(np.float64) - vectors[second], axis=1)
    # Of the token ids alone: activations differ in their last bits between machines.
    digest = hashlib.blake2b(np.ascontiguousarray(windows).tobytes(), digest_size=16)
    if n < 2 * d_model:
        warnings = (
            *warnings,
            f"The population has {n} windows, fewer than 2 x d_model = {2 * d_model}: its covariance is poorly "
            "known, and covariance-matched directions with it.",
        )
    return Population(vectors, means, windows, index, float(np.median(distances)), digest.hexdigest(), warnings)
