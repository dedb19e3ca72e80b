"""A recipe on the bench: one model, one site, and everything an experiment may ask for, computed when first asked.

Draws bases and directions, and puts them into the forward pass. Satisfies `engine.drawing.DrawContext`. Knows no
processes, files or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.activations import activations_everywhere
from engine.bases import BASES
from engine.dictionaries.firing import Firing
from engine.dictionaries.gate import Fit, usable
from engine.dictionaries.sae import Sae
from engine.directions.drawn import draw_direction
from engine.drawing import Base, Direction, Origin, Population, Vector
from engine.errors import RecipeError, RunFailedError, Stopped
from engine.experiments import EXPERIMENTS
from engine.forward import Forward, Hosts
from engine.layouts import choose, usable_threads
from engine.models import Model
from engine.noise import NoiseFloor, noise_floor
from engine.paths import Ray, make_ray
from engine.protocol import Held
from engine.recipe import Recipe
from engine.results import Progress
from engine.shards import Layout
from engine.site import resolve_site
from engine.texts import Sequences, joined
from engine.weights import ModelWeights
from engine.workshop import Workshop

if TYPE_CHECKING:
    from engine.thresholds import Block, Reached

CONTEXT_TOKENS: Final = 8192
"""Tokens of one clean pass over several contexts."""
AUTO_ANGLE: Final = 90.0
AUTO_TYPICAL_DISTANCES: Final = 1.5


class Colleagues(Protocol):
    """Other processes that hold the same model for the same recipe."""

    def measured(self, blocks: Iterator[Block]) -> Iterator[list[Reached]]:
        """What is found along the directions of each block, block by block in their order."""


class Laboratory:
    """One recipe with its model, ready for an experiment.

    Args:
        model: already loaded.
        recipe: what to compute.
        workshop: what outlives a run: texts, populations, SAEs.
        held: what need not be computed or drawn again.
        should_stop: asked between the blocks of every pass; a true answer ends the run with `Stopped`.
        live: whether somebody watches, who wants to see curves before they are whole.
        colleagues: who measure thresholds in other processes; None where this one does all.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        workshop: Workshop,
        held: Held = Held(),  # noqa: B008  (frozen)
        should_stop: Callable[[], bool] = lambda: False,
        live: bool = False,
        colleagues: Colleagues | None = None,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.workshop = workshop
        self.held = held
        self.live = live
        self.colleagues = colleagues
        self.should_stop = should_stop
        self.where = resolve_site(recipe, model)
        self.forward = Forward(model, self.where.write, self.where.reads, self.checkpoint)
        self.experiment = EXPERIMENTS[recipe.experiment]
        self.layout = self._layout()
        """How the run is computed; smaller after memory ran out."""
        self.sae_warnings: list[str] = []
        """What is to be known of the SAE, once it was asked for."""

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def position(self) -> int:
        return self.where.position

    @property
    def centred(self) -> bool:
        return self.model.is_centred(self.where.write)

    @cached_property
    def site_host(self) -> Hosts:
        """The clean run of the site's prompt, a batch of one."""
        return self._hosts([self.where.token_ids])

    @cached_property
    def site(self) -> Base:
        raw = self.site_host.raw[0]
        if not bool(raw.isfinite().all()):
            raise RunFailedError(
                f"The activation of '{self.model.name}' at {self.where.write.name}, position {self.position}, is NaN "
                "or infinite: are its weights whole? Use another prompt or position, or a wider model.dtype."
            )
        mean = float(raw.double().mean()) if self.centred else 0.0
        return Base("prompt", 0, "prompt", self._vector(raw), self.where.token_ids, mean)

    def _layout(self) -> Layout:
        suffix = self.where.read_position - self.where.position + 1
        refused = self.workshop.layouts.refused(self.model)
        if self.held.layout is not None and self.held.layout.rule not in refused:
            return self.held.layout
        return choose(self.model, self.where.position, suffix, len(self.direction_order), refused, self.live)

    def use_threads(self) -> None:
        """Compute with as many threads as the layout says, or as there are."""
        torch.set_num_threads(min(self.layout.threads, usable_threads()))

    @cached_property
    def noise(self) -> NoiseFloor | None:
        """What rounding alone makes of KL and L2 at the site; measured where weights are in bfloat16, else None.

        Raises:
            RecipeError: The level of the threshold lies below it.
        """
        if self.model.dtype != torch.bfloat16:
            return None
        row = self.base_row(self.site, self.site_host.raw[0])
        floor = noise_floor(self.forward, self.site_host, row, self.layout.rule, self.seed)
        if self.recipe.metrics.level <= floor.kl:
            raise RecipeError(
                f"metrics.level {self.recipe.metrics.level:g} nats lies below the noise floor of bfloat16 here, "
                f'{floor.kl:.2g} nats: raise it, or use model.dtype = "float32".'
            )
        return floor

    @cached_property
    def population(self) -> Population:
        return self.workshop.population(self.model, self.recipe.population, self.where, self.checkpoint)

    def texts(self, longest: int, source: str | None = None) -> Sequences:
        """What the population's source holds: token sequences without BOS, a sampled row or a whole file each.

        Args:
            longest: tokens of the rows that will be cut from them.
            source: another source, as `population.prompts`.
        """
        section = self.recipe.population
        if source is not None:
            section = section.model_copy(update={"prompts": source})
        return joined(self.workshop.texts(self.model, section, longest), self.model.eos)

    @cached_property
    def features(self) -> Sae:
        """The SAE of the write hook, once it has rebuilt this model's activations.

        Raises:
            SaeError: It cannot be loaded, or is not the right one.
        """
        sae = self.workshop.sae(self.model, self.recipe.sae, self.where.write)
        # Untrained weights are the null of every claim; whoever asks for them knows that no SAE is of them.
        strict = self.recipe.sae.check == "refuse" and self.recipe.model.weights == "trained"
        self.sae_warnings = list(usable(sae, self.workshop.fit(sae, self.population, self.checkpoint), strict))
        return sae

    @cached_property
    def sae_fit(self) -> Fit:
        """How well the SAE rebuilds the population."""
        return self.workshop.fit(self.features, self.population, self.checkpoint)

    @cached_property
    def firing(self) -> Firing:
        """How often the SAE's features fire on the population."""
        return self.workshop.firing(self.features, self.population, self.checkpoint)

    @property
    def firing_rates(self) -> NDArray[np.float64]:
        return self.firing.rates

    def cofiring(self, feature: int, others: Sequence[int]) -> NDArray[np.float64]:
        return self.firing.together(feature, np.asarray(others, dtype=np.int64))

    @cached_property
    def weights(self) -> ModelWeights:
        return self.workshop.weights(self.model, self.where.write)

    def reading_of(self, prompt: str) -> Base:
        return replace(self.activation_of(self.model.encode(prompt, self.recipe.site.bos)), label=repr(prompt))

    def activation_of(self, ids: Sequence[int]) -> Base:
        """The activation of the last of these tokens at the write hook."""
        raw = self.forward.hosts([ids], len(ids) - 1).raw[0]
        mean = float(raw.double().mean()) if self.centred else 0.0
        return Base("prompt", 0, "tokens", self._vector(raw), tuple(ids), mean)

    def tokens_of(self, prompt: str, length: int = 0, pad: str = "") -> list[Base]:
        ids = self.model.encode(prompt, self.recipe.site.bos)
        # A BOS that the user typed counts as a token like any other.
        first = int(self.where.bos and ids[0] == self.model.bos)
        missing = length - (len(ids) - first)
        if missing > 0:
            ids += self.model.single_token(pad) * missing
        raw = activations_everywhere(self.model, self.where.write, self.model.tensor([ids]))[0]
        vectors, means = self._vector(raw), raw.double().mean(-1).tolist() if self.centred else [0.0] * len(ids)
        return [
            Base("prompt", 0, f"token {i}", vectors[i], tuple(ids[: i + 1]), means[i]) for i in range(first, len(ids))
        ]

    @property
    def origin(self) -> Origin:
        model = self.model
        architecture = str(model.network.config.model_type)
        return Origin(model.name, model.weights_sha256, architecture, model.n_layers, self.where.write.name)

    def _vector(self, raw: Tensor) -> Vector:
        return np.asarray(self.model.to_basis(raw, self.where.write).to(torch.float32).cpu().numpy())

    @cached_property
    def stop(self) -> float | None:
        """Last coordinate of every path; None where each ends at its own target."""
        path = self.recipe.path
        if path.stop == "native":
            return None
        if path.stop == "typical":
            return self.population.typical_distance
        if path.stop != "auto":
            return float(path.stop)
        return AUTO_ANGLE if path.mode == "sphere" else AUTO_TYPICAL_DISTANCES * self.population.typical_distance

    @cached_property
    def direction_order(self) -> list[tuple[Any, int]]:
        """(spec, index within its kind) of one base's directions, kinds taking turns so that all show up early."""
        longest = max(len(q) for q in self._queues)
        return [q[i] for i in range(longest) for q in self._queues if i < len(q)]

    @cached_property
    def recipe_order(self) -> list[tuple[Any, int]]:
        """The same, table by table."""
        return [pair for queue in self._queues for pair in queue]

    @cached_property
    def _queues(self) -> list[list[tuple[Any, int]]]:
        drawn: dict[str, int] = {}
        queues = []
        for spec in self.recipe.directions:
            # Random draws asked for twice go on where they stopped; a rank or a typed prompt starts at the first.
            start = drawn.get(spec.kind, 0) if spec.drawn else 0
            if spec.drawn:
                drawn[spec.kind] = start + spec.count
            queues.append([(spec, start + i) for i in range(spec.count)])
        return queues

    @property
    def n_bases(self) -> int:
        """How many bases a run of curves has; 0 for one of tables."""
        if self.experiment.tables:
            return 0
        return self.recipe.n_bases

    @property
    def n_curves(self) -> int:
        return self.n_bases * len(self.direction_order)

    @cached_property
    def _base_order(self) -> list[tuple[Any, int]]:
        """(spec, index within its kind) of every base."""
        drawn: dict[str, int] = {}
        order = []
        for spec in self.recipe.bases:
            # Counted per options: the same vectors in their own context and in the site's make pairs.
            options = spec.model_dump_json(exclude={"count"})
            start = drawn.get(options, 0)
            order += [(spec, index) for index in range(start, start + spec.count)]
            drawn[options] = start + spec.count
        return order

    def base(self, number: int) -> Base:
        """One base of the recipe, by its number in the run."""
        spec, index = self._base_order[number]
        base: Base = BASES[spec.kind].draw(spec, self, index)
        return base

    def bases(self) -> Iterator[Base]:
        """The bases of the recipe, in order."""
        return (self.base(number) for number in range(len(self._base_order)))

    def draw(self, spec: Any, base: Base, index: int) -> Direction:
        """One direction from one base."""
        return draw_direction(spec, self, base, index)

    def hosts_of(self, bases: Sequence[Base]) -> Hosts:
        """The clean runs that bases are written into, in their order."""
        contexts = list(dict.fromkeys(base.token_ids for base in bases))
        hosts = self.site_host if contexts == [self.where.token_ids] else self._hosts(contexts)
        places = [contexts.index(base.token_ids) for base in bases]
        if places == list(range(len(hosts))):
            return hosts
        return hosts.select(torch.tensor(places, device=self.model.device))

    def _hosts(self, contexts: Sequence[Sequence[int]]) -> Hosts:
        # Tokens after the read position cannot reach back to it.
        length = self.where.read_position + 1
        cut = [ids[:length] for ids in contexts]
        at_once = max(1, CONTEXT_TOKENS // length)
        groups = [
            self.forward.hosts(cut[start : start + at_once], self.where.position)
            for start in range(0, len(cut), at_once)
        ]
        return groups[0] if len(groups) == 1 else Hosts.joined(groups)

    def base_row(self, base: Base, raw: Tensor) -> Tensor:
        """What is written for the base run [d_hook], in float64 on the CPU.

        Args:
            raw: what the base's context has there by itself [d_hook].
        """
        raw = raw.to("cpu", torch.float64)
        if base.kind == "prompt":
            return raw
        return raw + torch.from_numpy(base.vector.astype(np.float64)) - self.model.to_basis(raw, self.where.write)

    def ray(self, base: Base, vector: Vector, label: str) -> Ray:
        """The recipe's path from a base along a vector."""
        return make_ray(self.recipe.path.mode, base.vector, vector, label)

    def checkpoint(self) -> None:
        """Between passes and blocks: end the run here if someone asked for it."""
        if self.should_stop():
            raise Stopped

    def progress(self, done: int, steps_per_second: float | None) -> Progress:
        """How far the run is."""
        return Progress("measuring", done, self.n_curves, steps_per_second)
