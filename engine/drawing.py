"""What bases and directions are drawn from: frozen values and the context a draw may ask.

Knows numpy vectors in the basis of the write hook. Does not know torch, recipes as a whole, or how activations
are computed; whoever runs an experiment fills in the context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import DirectionError

Vector = NDArray[np.float32]
SAME: Final = 1e-6
"""Two vectors closer than this share of their length are one (float32: 6e-8)."""

MOST: Final = 1_000_000
"""Draws of one table of a recipe; more is a slip, and would fill the memory before anything is computed."""


@dataclass(frozen=True)
class Population:
    """Real activations at one hook and index: where real-other, mean, covariance and the typical distance come from."""

    vectors: NDArray[np.float32]
    """[n, d_hook], in the basis of the hook."""
    means: NDArray[np.float32]
    """[n]: the mean over d_hook that the basis removed from each vector; zeros where it removes none."""
    token_ids: NDArray[np.int32]
    """[n, n_tokens]: the windows that were fed, aligned with `vectors`."""
    index: int
    """Token index at which the windows were read."""
    typical_distance: float
    """Median L2 distance over 1000 seeded pairs."""
    hash: str
    """BLAKE2 of the windows' token ids."""
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> NDArray[np.float64]:
        """[d_hook]."""
        return np.asarray(self.vectors.mean(axis=0, dtype=np.float64))

    @cached_property
    def components(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Principal components [n, d_hook], unit rows, and the standard deviation along each [n], largest first."""
        centred = self.vectors.astype(np.float64) - self.mean
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
        # Either sign would do: the entry of largest size is positive, on every machine.
        largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], axis=1)
        return rows * np.sign(largest), singular / np.sqrt(max(1, len(centred) - 1))

    def covariance_matched(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """A normal draw with the population's mean and exact sample covariance: mu + (n-1)^-1/2 sum z_i (a_i - mu)."""
        n = len(self.vectors)
        centred = self.vectors.astype(np.float64) - self.mean
        return np.asarray(self.mean + rng.standard_normal(n) @ centred / np.sqrt(n - 1))

    def covariance_matched_many(self, rng: np.random.Generator, many: int) -> NDArray[np.float64]:
        """As many such draws [many, d_hook] in one product."""
        n = len(self.vectors)
        centred = self.vectors.astype(np.float64) - self.mean
        return np.asarray(self.mean + rng.standard_normal((many, n)) @ centred / np.sqrt(n - 1))


@dataclass(frozen=True)
class Base:
    """A vector at the write hook together with the context it is written into."""

    kind: str
    index: int
    """Count within its kind."""
    label: str
    vector: Vector
    """[d_hook], used exactly as stored."""
    token_ids: tuple[int, ...]
    """The host context, as long as the site's prompt."""
    mean: float = 0.0
    """The mean over d_hook of its context's own residual, which the basis removed."""
    population_row: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Provenance of a vector that was made."""

    def kind_and_host(self, site: tuple[int, ...]) -> str:
        """The kind, and `@site` behind it where a real activation of another text is written into the site's."""
        return f"{self.kind}@site" if self.population_row is not None and self.token_ids == site else self.kind


@dataclass(frozen=True)
class Direction:
    """A direction before normalising: target minus base, or a vector in its own right."""

    kind: str
    label: str
    vector: Vector
    """[d_hook], used exactly as stored."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Provenance: population row, feature index, activation, prompts."""
    rows: Mapping[str, Vector] | None = None
    """What steering adds, by hook name [n, d_hook]: token by token where n > 1, at further hooks where there are some.
    None is `vector` at the write hook alone."""
    by_token: bool = False
    """Whether each row belongs to a token, also where there is only one."""


@dataclass(frozen=True)
class Origin:
    """The model and place that vectors are drawn at, to tell whether one from elsewhere belongs here."""

    model: str
    weights_sha256: str
    architecture: str
    """Hugging Face's `model_type`."""
    n_layers: int
    hook: str


class Features(Protocol):
    """What a draw may ask of an SAE; numpy in and out, in the basis of the write hook."""

    @property
    def n_features(self) -> int: ...

    def activations(self, base: Base) -> NDArray[np.float64]:
        """Feature activations [d_sae] at a base."""
        ...

    def decode(self, f: NDArray[Any], base: Base) -> NDArray[np.float64]:
        """What activations [n, d_sae] stand for [n, d_hook], with the normalisation the SAE would use at a base."""
        ...

    def contribution(self, base: Base, feature: int) -> NDArray[np.float64]:
        """decode(f) - decode(f with f_i = 0) [d_hook]; for a feature that is off, of one unit of activation."""
        ...

    def contributions(self, base: Base, features: Sequence[int]) -> NDArray[np.float64]:
        """The same of several [n, d_hook]."""
        ...

    def units(self, base: Base, features: Sequence[int]) -> NDArray[np.float64]:
        """What one unit of activation of each adds [n, d_hook]."""
        ...

    def error(self, base: Base) -> NDArray[np.float64]:
        """SAE(x) - x at a base [d_hook]."""
        ...

    def encoder(self, feature: int) -> NDArray[np.float64]:
        """The encoder's row of a feature [d_hook]."""
        ...

    def rows(self, features: Sequence[int]) -> NDArray[np.float64]:
        """Decoder rows as stored [n, d_hook]."""
        ...

    def reconstruct(self, base: Base, k: int) -> tuple[NDArray[np.float64], int, float]:
        """A base from at most `k` features found by gradient pursuit, without the encoder: the vector [d_hook], how
        many features it has, and the fraction of |x - b_dec|^2 that it leaves."""
        ...


class Weights(Protocol):
    """What a draw may ask of the model's own weights; numpy out, in the basis of the write hook."""

    def embedding(self, text: str) -> NDArray[np.float64]:
        """The row of W_E [d_model] of a text that is one token."""
        ...

    @property
    def mean_embedding(self) -> NDArray[np.float64]:
        """Mean row of W_E [d_model]."""
        ...

    def neuron(self, layer: int, index: int, side: str) -> NDArray[np.float64]:
        """What an MLP neuron writes (`out`), or the direction it reads (`in`, `gate`), [d_model]."""
        ...

    def onto_null_space(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of a vector [d_hook] that the projection behind the write hook maps to nothing."""
        ...


class DrawContext(Protocol):
    """Everything a base or direction kind may ask for. Expensive parts are computed when first asked."""

    @property
    def seed(self) -> int: ...

    @property
    def centred(self) -> bool:
        """Whether vectors of this basis have zero mean over d_hook."""
        ...

    @property
    def position(self) -> int:
        """Token index at which vectors are written."""
        ...

    @property
    def site(self) -> Base:
        """The prompt's own activation in its own context."""
        ...

    @property
    def population(self) -> Population: ...

    @property
    def features(self) -> Features: ...

    @property
    def firing_rates(self) -> NDArray[np.float64]:
        """Share of the population on which each SAE feature is active [d_sae]."""
        ...

    def cofiring(self, feature: int, others: Sequence[int]) -> NDArray[np.float64]:
        """Of the population members on which a feature is active, the share that have each of some others [others]."""
        ...

    @property
    def weights(self) -> Weights: ...

    def reading_of(self, prompt: str) -> Base:
        """The activation of a prompt's last token at the write hook, in its own context."""
        ...

    def tokens_of(self, prompt: str, length: int = 0, pad: str = "") -> list[Base]:
        """Activations of every token of a prompt at the write hook, a BOS in front left out.

        Args:
            length: tokens that a shorter prompt is filled up to at its end, with `pad`, the text of one token.
        """
        ...

    @property
    def origin(self) -> Origin: ...


def isotropic(rng: np.random.Generator, size: int, centred: bool) -> NDArray[np.float64]:
    """A standard normal vector [size], its mean removed where the basis has none."""
    z = rng.standard_normal(size)
    return np.asarray(z - z.mean() if centred else z)


def strongest(activations: NDArray[Any]) -> list[int]:
    """The features that are active, of activations [d_sae], strongest first; some architectures have negative ones."""
    return [int(i) for i in np.argsort(-np.abs(activations), kind="stable") if activations[i] != 0]


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows [n, d] at unit length; ones without length stay."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30))


def without(vector: NDArray[Any], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """A vector [d] made orthogonal to rows [n, d], which need not be orthogonal to each other."""
    lengths = np.linalg.norm(rows, axis=1)
    units = rows[lengths > 0] / lengths[lengths > 0, None]
    left = vector.astype(np.float64)
    if not len(units):
        return left
    _, sizes, basis = np.linalg.svd(units, full_matrices=False)
    # Rows that are combinations of others span nothing of their own: what is left of them is rounding.
    basis = basis[sizes > 1e-6 * sizes.max()]
    return np.asarray(left - basis.T @ (basis @ left))


def member(population: Population, row: int) -> Base:
    """A real activation of the population, in its own context."""
    return Base(
        "real-other",
        0,
        f"member {row}",
        population.vectors[row],
        tuple(int(t) for t in population.token_ids[row]),
        float(population.means[row]),
        row,
    )


def nth_other(population: Population, rng: np.random.Generator, index: int, base: Base) -> int:
    """The row of the index-th member of a seeded permutation of the population whose vector is not the base's.

    Raises:
        DirectionError: The population has no such member.
    """
    gaps = np.linalg.norm(population.vectors - base.vector, axis=1)
    # Where context does not reach, as at the first block's input, members of one token are one vector.
    same = gaps <= SAME * np.linalg.norm(base.vector)
    if base.population_row is not None:
        # By its number too: rescaled, or recomputed on another machine, it is still itself.
        same[base.population_row] = True
    others = [int(row) for row in rng.permutation(len(population.vectors)) if not same[row]]
    if index >= len(others):
        raise DirectionError(
            f"Asked for {index + 1} members of the population other than the base, but it has {len(others)}: "
            "lower the count or raise population.n."
        )
    return others[index]
