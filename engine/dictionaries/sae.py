"""One SAE of sae-lens with numpy in and out: encode, decode, what a feature adds, what is left over.

Vectors come and go in the basis of the write hook; where the SAE was trained on uncentred residuals of a centred model,
the mean that the basis removed is put back first. The SAE stays in the machine's memory: a pass through the model needs
a few rows of its decoder, which are what leaves it. Knows sae-lens modules; not where they come from or whether they
fit (`loading`, `gate`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.dictionaries.evidence import EvidenceFile
from engine.dictionaries.pursuit import Dictionary, pursue
from engine.drawing import SAME, Base
from engine.errors import SaeError

ENCODED_AT_ONCE: Final = 1_000_000
"""Activations made at a time while many vectors are scanned; a scan can give way between two such parts."""
LEAST_ROWS: Final = 128
"""Of a part, since the whole encoder is read for each: 67 MB of activations at 131,072 features."""
DECODED_AT_ONCE: Final = 32_000_000
"""Activations decoded at a time: 128 MB, whatever the SAE's width."""
ATOM_TOLERANCE: Final = 1e-3
"""Relative; float32 differences of two reconstructions are off by some 1e-5."""
FACTOR_TOLERANCE: Final = 1e-5
"""Within which atoms are those of no normalisation."""
PROBED: Final = 3


@dataclass(frozen=True)
class Declared:
    """What its makers say of an SAE; None where they do not."""

    unexplained: float | None = None
    """Fraction of the variance."""
    l0: float | None = None
    trained_as: str | None = None
    """Architecture it was trained as."""


@dataclass(frozen=True, eq=False)
class Sae:
    """An SAE of the right width. Satisfies `engine.drawing.Features`."""

    release: str
    sae_id: str
    sha256: str
    """Of all its tensors."""
    module: Any
    centre: bool
    """Whether to remove the mean over d_model from what the SAE gives back."""
    uncentred: bool
    """Whether it was trained on residuals with their mean over d_model, of a model whose basis has none."""
    evidence: EvidenceFile | None = None
    """What its features seem to stand for, where that lies beside it."""
    declared: Declared = Declared()
    neuronpedia: str | None = None
    """`model/layer-set` of its dashboards, where there are some."""

    @property
    def n_features(self) -> int:
        return int(self.module.cfg.d_sae)

    @property
    def architecture(self) -> str:
        return str(self.module.cfg.architecture())

    @contextlib.contextmanager
    def at(self, device: torch.device) -> Iterator[None]:
        """Have the whole SAE on a device while very many vectors go through it."""
        home = self.module.W_dec.device
        self.module.to(device)
        try:
            yield
        finally:
            self.module.to(home)

    def encode(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float32]:
        """Feature activations [n, d_sae] of vectors [n, d_hook] whose removed means are [n]."""
        return np.concatenate([f for _, f in self.encoded(vectors, means)])

    @torch.no_grad()
    def encoded(
        self, vectors: NDArray[np.float32], means: NDArray[np.float32]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The same by parts, for scans that need not hold all: which rows, and their activations."""
        for rows in self._parts(len(vectors)):
            f = self.module.encode(self._input(vectors[rows], means[rows]))
            yield rows, np.asarray((f.to_dense() if f.is_sparse else f).cpu().numpy())

    def activations(self, base: Base) -> NDArray[np.float64]:
        return np.asarray(self.encode(*_one(base))[0], dtype=np.float64)

    @torch.no_grad()
    def before(self, base: Base) -> NDArray[np.float64] | None:
        """What the encoder gives before its activation function [d_sae]; None where it has no such stage."""
        found: list[Tensor] = []
        handle = self.module.hook_sae_acts_pre.register_forward_hook(lambda m, args, output: found.append(args[0]))
        try:
            self.module.encode(self._input(*_one(base)))
        finally:
            handle.remove()
        return np.asarray(found[0][0].double().cpu().numpy()) if found else None

    @torch.no_grad()
    def decode(self, f: NDArray[Any], base: Base) -> NDArray[np.float64]:
        """What activations [n, d_sae] stand for [n, d_hook], with the normalisation the SAE would use at a base."""
        vectors, means = _one(base)
        # Encoding first leaves what run-time normalisation keeps for decoding.
        self.module.encode(self._input(vectors.repeat(len(f), 0), means.repeat(len(f), 0)))
        return self._output(self.module.decode(torch.from_numpy(np.asarray(f)).to(self.module.W_dec)))

    def contributions(self, base: Base, features: Sequence[int]) -> NDArray[np.float64]:
        """decode(f) - decode(f with f_i = 0) of each [n, d_hook]; of one unit of activation for one that is off.

        Off is also what is on by rounding alone, of which nothing would be left in float32.
        """
        f = self.activations(base)
        rounding = np.abs(f) * self.lengths <= SAME * np.linalg.norm(base.vector)
        return self._differences(base, np.where(rounding, 0.0, f), list(features))

    def units(self, base: Base, features: Sequence[int]) -> NDArray[np.float64]:
        """The same of one unit of activation each, whatever is on [n, d_hook]."""
        return self._differences(base, np.zeros(self.n_features), list(features))

    def _differences(self, base: Base, f: NDArray[np.float64], features: list[int]) -> NDArray[np.float64]:
        found = []
        at_once = max(1, DECODED_AT_ONCE // self.n_features // 2)
        for start in range(0, len(features), at_once):
            some = features[start : start + at_once]
            on = np.tile(f.astype(np.float32), (len(some), 1))
            off = on.copy()
            places = np.arange(len(some))
            on[places, some] = np.where(f[some] == 0, 1.0, f[some])
            off[places, some] = 0.0
            found.append(self.decode(on, base) - self.decode(off, base))
        return np.concatenate(found) if found else np.zeros((0, len(base.vector)))

    def contribution(self, base: Base, feature: int) -> NDArray[np.float64]:
        return np.asarray(self.contributions(base, [feature])[0])

    def encoder(self, feature: int) -> NDArray[np.float64]:
        return self._output(self.module.W_enc[:, feature].detach())

    def rows(self, features: Sequence[int]) -> NDArray[np.float64]:
        """Decoder rows as stored, in the basis [n, d_hook]."""
        return self._output(self.module.W_dec.detach()[list(features)])

    @cached_property
    def stored(self) -> Dictionary:
        """The decoder's rows, as stored."""
        return Dictionary(self.module.W_dec.detach().cpu(), centred=self.centre)

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Of the decoder rows in the basis [d_sae]; not always 1."""
        return self.stored.lengths

    @cached_property
    def encoder_cosines(self) -> NDArray[np.float64]:
        """Cosine of each feature's encoder and decoder vector, in the basis [d_sae]."""
        found = []
        for start in range(0, self.n_features, 8192):
            features = slice(start, start + 8192)
            e = self._output(self.module.W_enc.detach()[:, features].T)
            d = self._output(self.module.W_dec.detach()[features])
            lengths = np.linalg.norm(e, axis=1) * np.linalg.norm(d, axis=1)
            found.append((e * d).sum(1) / np.where(lengths > 0, lengths, 1))
        return np.concatenate(found)

    def neighbours(self, feature: int, n: int) -> list[tuple[int, float]]:
        """The features whose decoder rows have the largest cosine with this one's, itself left out."""
        row = self.rows([feature])[0]
        cosines = self.stored.products(row / max(np.linalg.norm(row), 1e-30))
        cosines[feature] = -np.inf
        return [(int(i), float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[:n]]

    def atoms(self, base: Base) -> Dictionary:
        """The decoder as a dictionary: atom i is what one unit of feature i adds at a base.

        Raises:
            SaeError: Its decoder does more than add rows.
        """
        unit = self._unit_atoms
        probed = [int(i) for i in np.flatnonzero(unit.lengths)[:PROBED]]
        wanted, got = self.units(base, probed), unit.atoms(probed)
        factor = float((wanted * got).sum() / max((got**2).sum(), 1e-30))
        if not probed or np.abs(wanted - factor * got).max() > ATOM_TOLERANCE * max(np.abs(wanted).max(), 1e-30):
            raise SaeError(
                f"The decoder of SAE {self.release} / {self.sae_id} ({self.architecture}) is not a sum of rows, so "
                "vectors cannot be decomposed with it: choose another SAE."
            )
        return unit if abs(factor - 1) < FACTOR_TOLERANCE else unit.times(factor)

    @cached_property
    def _unit_atoms(self) -> Dictionary:
        """Atoms up to a common factor, which run-time normalisation makes different at each base."""
        if not getattr(self.module.cfg, "rescale_acts_by_decoder_norm", False):
            return self.stored
        rows = self.stored.stored
        return Dictionary(rows, 1 / rows.norm(dim=1).clamp(min=1e-30).double().numpy(), self.centre)

    def bias(self, base: Base) -> NDArray[np.float64]:
        """What it decodes to when nothing is on [d_hook]."""
        return np.asarray(self.decode(np.zeros((1, self.n_features), np.float32), base)[0])

    def reconstruct(self, base: Base, k: int) -> tuple[NDArray[np.float64], int, float]:
        bias, atoms = self.bias(base), self.atoms(base)
        codes = pursue(base.vector - bias, atoms, k)
        if not codes:
            return bias, 0, 1.0
        code = codes[-1]
        used = int((code.weights > 0).sum())
        return bias + code.weights @ atoms.atoms(code.support), used, code.unexplained

    @torch.no_grad()
    def reconstruction(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the SAE makes of vectors [n, d_hook] whose removed means are [n]: SAE(x), in the basis [n, d_hook]."""
        return np.concatenate([y for _, _, y in self.rebuilt(vectors, means)])

    @torch.no_grad()
    def rebuilt(
        self, vectors: NDArray[np.float32], means: NDArray[np.float32]
    ) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
        """By parts: which rows, how many features are active in each [n], and SAE(x) [n, d_hook]."""
        for rows in self._parts(len(vectors)):
            f = self.module.encode(self._input(vectors[rows], means[rows]))
            active = (f.to_dense() if f.is_sparse else f).ne(0).sum(-1)
            yield rows, np.asarray(active.cpu().double().numpy()), self._output(self.module.decode(f))

    def error(self, base: Base) -> NDArray[np.float64]:
        return np.asarray(self.reconstruction(*_one(base))[0] - base.vector)

    def _parts(self, n: int) -> list[slice]:
        """Which of n vectors are encoded together."""
        at_once = max(LEAST_ROWS, ENCODED_AT_ONCE // self.n_features)
        return [slice(start, min(start + at_once, n)) for start in range(0, n, at_once)]

    def _input(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> Tensor:
        x = vectors + means[:, None] if self.uncentred else vectors
        return torch.from_numpy(np.ascontiguousarray(x)).to(self.module.W_dec.device, self.module.W_dec.dtype)

    def _output(self, x: Tensor) -> NDArray[np.float64]:
        y = x.cpu().double().numpy()
        return np.asarray(y - y.mean(-1, keepdims=True) if self.centre else y)


def _one(base: Base) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A base as a batch of one."""
    return base.vector[None], np.array([base.mean], dtype=np.float32)
