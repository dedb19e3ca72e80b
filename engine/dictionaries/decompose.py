"""Any vector as a sum of SAE features, by the encoder and by gradient pursuit, side by side.

A base x is rebuilt as b_dec + sum f_i D_i. A direction d is read by the encoder as what changes from x to x + d
(features on at the end minus features on at the start, of which much may cancel), and by pursuit as signed features
with no encoder in the way, which is questionable off the distribution. A random dictionary of the same size says how
much any such set of vectors would explain. After Conmy & Nanda and Smith (GDM mechanistic interpretability team's
progress update #1, 2024). Knows SAEs and vectors; no runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from engine.dictionaries.pursuit import Code, Dictionary, pursue
from engine.dictionaries.sae import Sae
from engine.drawing import Base
from engine.randomness import stream


@dataclass(frozen=True)
class Part:
    """One feature of a sum."""

    feature: int
    coefficient: float
    """Activation; of a direction, plus minus minus."""
    plus: float
    """Encoder activation at x + d, or at x where x itself is rebuilt."""
    minus: float
    """Encoder activation at x; 0 where x itself is rebuilt."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """Two readings of one vector. Fractions are of the squared length of the vector, b_dec taken off a base."""

    encoder: tuple[Part, ...]
    """Largest contribution first, at most k."""
    pursuit: tuple[Part, ...]
    """In the order in which they joined, with their last weights, at most k."""
    encoder_explained: tuple[float, ...]
    """With the 1, 2, ... largest."""
    pursuit_explained: tuple[float, ...]
    random_explained: tuple[float, ...]
    """Of a random dictionary of the same size, by pursuit."""
    turned_on: int
    """Features with a larger activation at the end; of a base, active ones."""
    turned_off: int

    @property
    def rows(self) -> list[dict[str, float | int | None]]:
        """Both readings side by side, a row for each k: the k-th feature of each, and what k of them explain."""
        return [
            {
                "k": k,
                "encoder_feature": None if e is None else e.feature,
                "change": None if e is None else e.coefficient,
                "plus": None if e is None else e.plus,
                "minus": None if e is None else e.minus,
                "encoder_explained": by_encoder,
                "pursuit_feature": None if p is None else p.feature,
                "weight": None if p is None else p.coefficient,
                "pursuit_explained": by_pursuit,
                "random_explained": by_chance,
            }
            for k, (e, by_encoder, p, by_pursuit, by_chance) in enumerate(
                zip_longest(
                    self.encoder,
                    self.encoder_explained,
                    self.pursuit,
                    self.pursuit_explained,
                    self.random_explained,
                ),
                start=1,
            )
        ]


def decompose(sae: Sae, base: Base, direction: NDArray[np.float32] | None, k: int, seed: int) -> Decomposition:
    """Take a base, or a direction from it, apart.

    Args:
        sae: whose features.
        base: where; in its own context.
        direction: d [d_hook] at its own length; None takes the base itself apart.
        k: features to use at most.
        seed: of the random dictionary.
    """
    atoms = sae.atoms(base)
    start = sae.activations(base)
    if direction is None:
        plus, minus = start, np.zeros_like(start)
        signal = base.vector.astype(np.float64) - sae.bias(base)
    else:
        end = replace(base, vector=(base.vector + direction).astype(np.float32))
        plus, minus = sae.activations(end), start
        signal = direction.astype(np.float64)
    change = plus - minus
    lengths = np.abs(change) * atoms.lengths
    strongest = [int(i) for i in np.argsort(-lengths, kind="stable")[:k] if change[i] != 0]
    total = max(float(signal @ signal), 1e-30)
    sums = np.cumsum(change[strongest, None] * atoms.atoms(strongest), axis=0) if strongest else np.zeros((0, 1))
    codes = pursue(signal, atoms, k, signed=direction is not None)
    chance = pursue(signal, random_dictionary(atoms, seed), k, signed=direction is not None)

    def part(feature: int, coefficient: float) -> Part:
        return Part(feature, coefficient, float(plus[feature]), float(minus[feature]))

    last = codes[-1] if codes else Code((), np.zeros(0), 1.0)
    return Decomposition(
        encoder=tuple(part(i, float(change[i])) for i in strongest),
        pursuit=tuple(part(i, float(w)) for i, w in zip(last.support, last.weights, strict=True)),
        encoder_explained=tuple(1 - float(((signal - s) ** 2).sum()) / total for s in sums),
        pursuit_explained=tuple(1 - code.unexplained for code in codes),
        random_explained=tuple(1 - code.unexplained for code in chance),
        turned_on=int((change > 0).sum()),
        turned_off=int((change < 0).sum()),
    )


def random_dictionary(like: Dictionary, seed: int) -> Dictionary:
    """As many isotropic vectors, of unit length, in the same basis."""
    return _isotropic(*like.stored.shape, like.centred, seed)


@lru_cache(maxsize=1)
def _isotropic(n: int, d: int, centred: bool, seed: int) -> Dictionary:
    rows = stream(seed, "dictionary/random").standard_normal((n, d), dtype=np.float32)
    if centred:
        rows -= rows.mean(-1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Dictionary(torch.from_numpy(rows), centred=centred)


def explain_feature(sae: Sae, base: Base, feature: int, k: int, signed: bool = False) -> list[Code]:
    """A feature's decoder row from those of 1, 2, ... other features.

    Whether a feature is a sparse combination of others is a naive test of feature splitting (StefanHex, shortform on
    SAE features and model features, 2024).
    """
    atoms = sae.atoms(base)
    return pursue(atoms.atoms([feature])[0], atoms, k, signed=signed, without=[feature])
