"""Gradient pursuit: a vector as a sparse sum of a dictionary's atoms, without an encoder.

Greedy: the atom with the largest inner product with what is left joins the support, then one gradient step with exact
line search moves all coefficients of the support (Blumensath & Davies, "Gradient Pursuits", 2008; used on SAE decoders
as "inference-time optimisation" by Smith, in the GDM mechanistic interpretability team's progress update #1, 2024).
Knows dictionaries and vectors; no SAEs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AT_ONCE: Final = 8192
"""Rows that are in float64 at a time."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Atoms to build vectors from: atom i is scale_i times row i, its mean removed where the basis has none."""

    stored: Tensor
    """[n_atoms, d], on the CPU; never copied."""
    scale: NDArray[np.float64] | None = None
    """[n_atoms]; None is 1."""
    centred: bool = False
    known_lengths: NDArray[np.float64] | None = None
    """Of all atoms, where somebody has found them already."""

    def __len__(self) -> int:
        return len(self.stored)

    def atoms(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """Some of the atoms [n, d]."""
        rows = self.stored[list(indices)].double().numpy()
        rows = rows - rows.mean(-1, keepdims=True) if self.centred else rows
        return np.asarray(rows if self.scale is None else rows * self.scale[list(indices), None])

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """Of all atoms [n_atoms]."""
        if self.known_lengths is not None:
            return self.known_lengths
        parts = [range(start, min(start + AT_ONCE, len(self))) for start in range(0, len(self), AT_ONCE)]
        return np.concatenate([np.linalg.norm(self.atoms(part), axis=1) for part in parts])

    def times(self, factor: float) -> Dictionary:
        """The same atoms, longer."""
        scale = np.ones(len(self)) if self.scale is None else self.scale
        return replace(self, scale=scale * factor, known_lengths=self.lengths * abs(factor))

    def products(self, vector: NDArray[Any]) -> NDArray[np.float64]:
        """Inner products of a vector of the basis [d] with every atom at unit length [n_atoms]; 0 for no length."""
        # The vector has no mean where atoms have none, so that the means of the rows drop out by themselves.
        found = (self.stored @ torch.from_numpy(np.asarray(vector)).to(self.stored)).double().numpy()
        found = found if self.scale is None else found * self.scale
        return np.asarray(np.divide(found, self.lengths, out=np.zeros_like(found), where=self.lengths > 0))


@dataclass(frozen=True, eq=False)
class Code:
    """A sparse sum of atoms."""

    support: tuple[int, ...]
    """Atoms, in the order in which they joined."""
    weights: NDArray[np.float64]
    """Of the atoms as they are, not of unit ones; one may be 0."""
    unexplained: float
    """|vector - sum|^2 over |vector|^2."""


def pursue(
    vector: NDArray[Any],
    dictionary: Dictionary,
    k: int,
    *,
    signed: bool = False,
    without: Collection[int] = (),
    steps: int = 1,
) -> list[Code]:
    """The sums after 1, 2, ... atoms, at most `k`; fewer when no further atom helps.

    Args:
        vector: what to build [d], in the basis of the dictionary.
        dictionary: the atoms.
        k: how many may join.
        signed: whether weights may be negative.
        without: atoms that must not join.
        steps: gradient steps after each atom. 1 is gradient pursuit; with many the weights become those of least
            squares, which is orthogonal matching pursuit.
    """
    signal = np.asarray(vector, dtype=np.float64)
    total = float(signal @ signal)
    if total == 0:
        return []
    residual, support, weights = signal, list[int](), np.zeros(0)
    units, norms = np.zeros((0, len(signal))), list[float]()
    barred = list(without)
    codes: list[Code] = []
    while len(support) < min(k, len(dictionary)):
        products = dictionary.products(residual)
        gains = np.abs(products) if signed else products
        gains[[*barred, *support]] = -np.inf
        best = int(gains.argmax())
        if gains[best] <= 1e-7 * np.sqrt(total):  # rounding of float32 products
            break
        atom = dictionary.atoms([best])
        support.append(best)
        weights = np.append(weights, 0.0)
        norms.append(float(np.linalg.norm(atom)))
        units = np.concatenate([units, atom / norms[-1]])
        for _ in range(steps):
            moved = _step(signal, residual, units, weights, signed)
            if moved is None:
                break
            weights, residual = moved
        codes.append(Code(tuple(support), weights / np.array(norms), float(residual @ residual) / total))
    return codes


def _step(
    signal: NDArray[np.float64],
    residual: NDArray[np.float64],
    units: NDArray[np.float64],
    weights: NDArray[np.float64],
    signed: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """One gradient step with exact line search; None where there is nothing to gain."""
    gradient = units @ residual
    if not signed:
        gradient = np.where((weights <= 0) & (gradient < 0), 0.0, gradient)
    change = gradient @ units
    size = float(change @ change)
    if size <= 1e-30 * float(signal @ signal):
        return None
    length = float(change @ residual) / size
    moved = weights + length * gradient
    if not signed and (moved < 0).any():
        clipped = np.maximum(moved, 0.0)
        rest = signal - clipped @ units
        if rest @ rest <= residual @ residual:
            return clipped, rest
        # Clipping made it worse: go as far along the line as weights stay positive, which never does.
        falling = gradient < 0
        length = float((weights[falling] / -gradient[falling]).min())
        moved = np.maximum(weights + length * gradient, 0.0)
    return moved, signal - moved @ units
