"""A recipe on the bench: one model, one site, and everything an experiment may ask for, computed when first asked.

Draws bases and directions, and measures curves. Satisfies `engine.drawing.DrawContext`. Knows no processes, files or
terminals.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from engine import metrics
from engine.bases import BASES
from engine.curves import NEAR_SHARE, max_slope_step, plateau_length, quadratic_ratio, threshold, value_at
from engine.directions import DIRECTIONS
from engine.drawing import Base, Direction, Population, Vector
from engine.experiments import EXPERIMENTS
from engine.forward import Forward, Host
from engine.models import Model
from engine.paths import Ray, grid, make_ray
from engine.protocol import Held
from engine.recipe import Recipe
from engine.results import CurveResult, Progress, Series, Summary, TokenTable
from engine.site import resolve_site
from engine.texts import Sequences, joined
from engine.workshop import Workshop

ROWS_PER_CHUNK: Final = {"cpu": 128, "mps": 256, "cuda": 512}
"""Rows of one forward pass by device, the base row included; divided by the positions a row runs."""
TOKEN_RANKS: Final = 10
AUTO_ANGLE: Final = 90.0
AUTO_TYPICAL_DISTANCES: Final = 1.5


class Stopped(Exception):
    """The run was cancelled, superseded or ran out of time."""


class Laboratory:
    """One recipe with its model, ready for an experiment.

    Args:
        model: already loaded.
        recipe: what to compute.
        workshop: what outlives a run: texts, populations, SAEs.
        held: what need not be computed or drawn again.
        should_stop: asked between chunks; a true answer ends the run with `Stopped`.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        workshop: Workshop,
        held: Held = Held(),  # noqa: B008  (frozen)
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.workshop = workshop
        self.held = held
        self._should_stop = should_stop
        self.where = resolve_site(recipe, model)
        self.forward = Forward(model, self.where.write, self.where.reads)
        self.experiment = EXPERIMENTS[recipe.experiment]
        self._measuring = 0.0
        self._steps = 0

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def position(self) -> int:
        return self.where.position

    @property
    def centred(self) -> bool:
        return self.model.centred

    @cached_property
    def site_host(self) -> Host:
        """The clean run of the site's prompt."""
        return self._host(self.where.token_ids)

    @cached_property
    def site(self) -> Base:
        mean = float(self.site_host.raw.mean()) if self.model.centred else 0.0
        return Base("prompt", 0, "prompt", self._vector(self.site_host), self.where.token_ids, mean)

    @cached_property
    def population(self) -> Population:
        return self.workshop.population(self.model, self.recipe.population, self.where)

    def texts(self, longest: int) -> Sequences:
        """What the population's source holds: token sequences without BOS, a sampled row or a whole file each.

        Args:
            longest: tokens of the rows that will be cut from them.
        """
        return joined(self.workshop.texts(self.model, self.recipe.population, longest), self.model.eos)

    @cached_property
    def features(self) -> Any:
        return self.workshop.sae(self.model, self.recipe.sae, self.where.write)

    def activation_of(self, prompt: str) -> Vector:
        ids = self.model.encode(prompt, self.recipe.site.bos)
        return self._vector(self.forward.host(ids, len(ids) - 1))

    def _vector(self, host: Host) -> Vector:
        return np.asarray(self.model.to_basis(host.raw).to(torch.float32).cpu().numpy())

    @cached_property
    def rows_per_chunk(self) -> int:
        """Deterministic rule: by device, divided by the positions run per row, at least 8."""
        if self.held.rows_per_chunk is not None:
            return self.held.rows_per_chunk
        per_row = self.where.read_position - self.where.position + 1
        return max(8, ROWS_PER_CHUNK.get(self.model.device.type, 128) // per_row)

    @cached_property
    def stop(self) -> float | None:
        """Last coordinate of every path; None where each ends at its own target."""
        path = self.recipe.path
        if path.stop == "native":
            return None
        if path.stop != "auto":
            return float(path.stop)
        return AUTO_ANGLE if path.mode == "sphere" else AUTO_TYPICAL_DISTANCES * self.population.typical_distance

    @cached_property
    def direction_order(self) -> list[tuple[Any, int]]:
        """(spec, index within its kind) of one base's directions, kinds taking turns so that all show up early."""
        drawn: dict[str, int] = {}
        queues = []
        for spec in self.recipe.directions:
            # Random draws asked for twice go on where they stopped; a rank or a typed prompt starts at the first.
            start = drawn.get(spec.kind, 0) if spec.drawn else 0
            if spec.drawn:
                drawn[spec.kind] = start + spec.count
            queues.append([(spec, start + i) for i in range(spec.count)])
        longest = max(len(q) for q in queues)
        return [q[i] for i in range(longest) for q in queues if i < len(q)]

    @property
    def n_bases(self) -> int:
        """How many bases a run of curves has; 0 for one of tables."""
        if self.experiment.tables:
            return 0
        return sum(spec.count for spec in self.recipe.bases)

    @property
    def n_curves(self) -> int:
        return self.n_bases * len(self.direction_order)

    def bases(self) -> Iterator[Base]:
        """The bases of the recipe, in order."""
        drawn: dict[str, int] = {}
        for spec in self.recipe.bases:
            # Counted per options: the same vectors in their own context and in the site's make pairs.
            options = spec.model_dump_json(exclude={"count"})
            for index in range(drawn.get(options, 0), drawn.get(options, 0) + spec.count):
                base: Base = BASES[spec.kind].draw(spec, self, index)
                yield base
            drawn[options] = drawn.get(options, 0) + spec.count

    def draw(self, spec: Any, base: Base, index: int) -> Direction:
        """One direction from one base."""
        return DIRECTIONS[spec.kind].draw(spec, self, base, index)

    def host_of(self, base: Base) -> Host:
        """The clean run a base is written into."""
        if base.token_ids == self.where.token_ids:
            return self.site_host
        return self._host(base.token_ids)

    def _host(self, token_ids: Sequence[int]) -> Host:
        # Tokens after the read position cannot reach back to it.
        return self.forward.host(token_ids[: self.where.read_position + 1], self.where.position)

    def base_row(self, base: Base, host: Host) -> Tensor:
        """What is written for the base run: raw residual [d_model], float64 on the CPU."""
        raw = host.raw.to("cpu", torch.float64)
        if base.kind == "prompt":
            return raw
        return raw + torch.from_numpy(base.vector.astype(np.float64)) - self.model.to_basis(raw)

    def rows(self, base_row: Tensor, offsets: Series) -> Tensor:
        """Base row plus offsets, on the device in the model's dtype: [n, d_model]."""
        return (base_row + torch.from_numpy(offsets)).to(self.model.device, self.model.dtype)

    def fisher(self, base_row: Tensor, host: Host, rays: Sequence[Ray]) -> list[float]:
        """t'Ft of each ray at the base."""
        tangents = torch.from_numpy(np.stack([r.tangent for r in rays]))
        logits, derivative = self.forward.derivative(
            host,
            base_row.to(self.model.device, self.model.dtype),
            tangents.to(self.model.device, self.model.dtype),
        )
        return [float(v) for v in metrics.fisher_form(logits, derivative)]

    def measure(
        self, curve: int, number: int, base: Base, direction: Direction, host: Host, ray: Ray, fisher: float
    ) -> CurveResult:
        """One whole curve. Every chunk carries the base row in front, so that step 0 is compared with its own twin."""
        started = time.monotonic()
        recipe, base_row = self.recipe, self.base_row(base, host)
        stop = self.stop if self.stop is not None else ray.native
        coordinate = grid(stop, recipe.path.steps)
        logits_metrics: dict[str, list[Tensor]] = {"kl": [], **{name: [] for name in recipe.metrics.extra}}
        reads: dict[str, dict[str, list[Tensor]]] = {h.name: {"l2": [], "cosine": []} for h in self.where.reads}
        top: list[tuple[Tensor, Tensor]] = []
        width = self.rows_per_chunk - 1
        for start in range(0, len(coordinate), width):
            self.checkpoint()
            offsets = ray.offsets(coordinate[start : start + width])
            rows = self.rows(base_row, np.concatenate([np.zeros((1, offsets.shape[1])), offsets]))
            output = self.forward.run(host, rows)
            base_logits, logits = output.logits[0], output.logits[1:]
            for name, parts in logits_metrics.items():
                parts.append(getattr(metrics, name)(base_logits, logits))
            for hook, stream in zip(self.where.reads, output.reads, strict=True):
                stream = self.model.to_basis(stream)
                reads[hook.name]["l2"].append(metrics.l2(stream[0], stream[1:]))
                reads[hook.name]["cosine"].append(metrics.cosine(stream[0], stream[1:]))
            if self.experiment.keeps_tokens:
                top.append(metrics.top_tokens(logits, TOKEN_RANKS))
            self._steps += len(offsets)
        self._measuring += time.monotonic() - started
        values: dict[str, dict[str, Series]] = {
            "logits": {name: _joined(parts) for name, parts in logits_metrics.items()},
            **{hook: {name: _joined(parts) for name, parts in by.items()} for hook, by in reads.items()},
        }
        values["logits"]["kl_quadratic"] = coordinate**2 / 2 * fisher
        kl, l2 = values["logits"]["kl"], values[self.where.reads[-1].name]["l2"]
        distance = ray.distance(coordinate)
        reached = threshold(coordinate, kl, recipe.metrics.level)
        plateau = plateau_length(distance, l2, self.population.typical_distance)
        kl_near = value_at(distance, kl, NEAR_SHARE * self.population.typical_distance)
        quadratic = values["logits"]["kl_quadratic"]
        summary = Summary(
            curve=curve,
            base=number,
            base_kind=base.kind_and_host(self.where.token_ids),
            kind=direction.kind,
            label=direction.label,
            native_norm=ray.native_norm,
            native_angle=ray.native_angle,
            threshold=reached,
            censored=reached is None,
            max_slope_step=max_slope_step(l2),
            plateau_length=plateau if math.isfinite(plateau) else None,
            plateau_censored=math.isinf(plateau),
            fisher=fisher,
            final_kl=float(kl[-1]),
            kl_near=kl_near,
            quadratic_near=value_at(distance, quadratic, NEAR_SHARE * self.population.typical_distance),
            quadratic_ratio=quadratic_ratio(reached, fisher, recipe.metrics.level),
            near_share=None if kl_near is None or kl[-1] <= 0 else kl_near / float(kl[-1]),
        )
        return CurveResult(
            summary=summary,
            direction=direction.vector,
            detail=direction.detail,
            coordinate=coordinate,
            distance=distance,
            angle=ray.angle(coordinate),
            values=values,
            tokens=self._token_table(top) if top else None,
        )

    def _token_table(self, top: list[tuple[Tensor, Tensor]]) -> TokenTable:
        ids = torch.cat([t[0] for t in top]).cpu().numpy().astype(np.int32)
        strings = {int(i): self.workshop.token_string(self.model, int(i)) for i in np.unique(ids)}
        return TokenTable(ids, _joined([t[1] for t in top]), strings)

    def ray(self, base: Base, vector: Vector, label: str) -> Ray:
        """The recipe's path from a base along a vector."""
        return make_ray(self.recipe.path.mode, base.vector, vector, label)

    def checkpoint(self) -> None:
        """Between chunks: end the run here if someone asked for it."""
        if self._should_stop():
            raise Stopped

    def progress(self, done: int) -> Progress:
        """How far the run is."""
        rate = self._steps / self._measuring if self._measuring > 0 else None
        return Progress("measuring", done, self.n_curves, rate)


def _joined(parts: list[Tensor]) -> Series:
    return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float64)
