"""`sae-geometry`: how decoder rows lie, how many features random inputs turn on, and who reads a direction.

Table `cosines`: pairwise and nearest-neighbour cosines of decoder rows, of isotropic and of covariance-matched
vectors (StefanHex, shortform 2024). `l0`: features active on random inputs, which may be 10 or 20,000 (a footnote of
Heimersheim & Mendel 2024), beside real ones and the base. `active`: cosines of the base's active latents to the
strongest (LASR Labs 2024). `readers`: for each direction of the recipe, its largest cosine with a row of the
unembedding and with what later blocks read, and its threshold: if alignment with read-off directions explained
sensitivity (LawrenceC's comment on Heimersheim & Mendel 2024), the fit, reported as a note, would be good.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, always, unheld

if TYPE_CHECKING:
    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event

COSINES, L0, ACTIVE, READERS = "cosines", "l0", "active", "readers"


class GeometryOptions(NoOptions):
    """How much random input."""

    inputs: int = Field(200, ge=1, description="a whole number of at least 1: inputs of each kind")


@unheld
def _run(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.bases import BASES
    from engine.dictionaries.geometry import BINS, cosines, decoder_sample, references, to_strongest
    from engine.drawing import member, strongest
    from engine.results import Note, Progress, RowResult

    options = lab.recipe.options
    assert isinstance(options, GeometryOptions)
    sae, base = lab.features, next(lab.bases())
    yield Progress("comparing decoder rows")
    sets = {"decoder": decoder_sample(sae, lab.seed)}
    sets.update(references(lab.population, len(sets["decoder"]), lab.centred, lab.seed))
    histograms = {}
    for name, vectors in sets.items():
        lab.checkpoint()
        histograms[name] = cosines(vectors)
    edges = np.linspace(-1, 1, BINS + 1)
    for i in range(BINS):
        row: dict[str, float] = {"low": float(edges[i]), "high": float(edges[i + 1])}
        for name, found in histograms.items():
            key = name.replace("-", "_")
            row[key], row[f"{key}_nearest"] = float(found.pairs[i]), float(found.nearest[i])
        yield RowResult(COSINES, row)
    if hasattr(sae.module.cfg, "k"):
        yield Note(
            f"This SAE keeps its {sae.module.cfg.k} strongest features of any input, so that its L0 tells nothing "
            "apart: look at `positive`, the features whose value before that choice is positive."
        )
    yield RowResult(L0, _counted(lab, "base", 0, base))
    for kind in ("isotropic", "random"):
        spec = BASES[kind].spec(kind=kind, count=options.inputs)
        for i in range(options.inputs):
            made = BASES[kind].draw(spec, lab, i)
            yield RowResult(L0, _counted(lab, kind, i, made))
        lab.checkpoint()
    for i in range(min(options.inputs, len(lab.population.vectors))):
        yield RowResult(L0, _counted(lab, "real", i, member(lab.population, i)))
    activations = sae.activations(base)
    active = strongest(activations)
    if active:
        for rank, (feature, cosine) in enumerate(zip(active, to_strongest(sae, active), strict=True)):
            values = {"rank": rank, "feature": feature, "activation": float(activations[feature])}
            yield RowResult(ACTIVE, {**values, "cosine_to_strongest": float(cosine)})
    yield from _readers(lab)


def _counted(lab: Laboratory, what: str, number: int, base: Base) -> dict[str, object]:
    """How many features an input turns on."""
    before = lab.features.before(base)
    positive = None if before is None else float((before > 0).sum())
    return {
        "input": what,
        "number": number,
        "l0": float((lab.features.activations(base) != 0).sum()),
        "positive": positive,
    }


def _readers(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.dictionaries.geometry import explained_by, largest_cosine
    from engine.results import Note, Progress, RowResult
    from engine.thresholds import thresholds

    if not lab.where.write.wide_as_stream:
        yield Note("Directions outside of the residual stream are read by one matrix only: no table of readers.")
        return
    base = next(lab.bases())
    drawn = [lab.draw(spec, base, i) for spec, i in lab.direction_order]
    rows = [part.rows for part in lab.weights.later_read_ins()]
    unembedding = lab.weights.unembedding
    found: list[tuple[str, float, float, float]] = []
    for place, reached in thresholds(lab, base, [d.vector for d in drawn], [d.label for d in drawn]):
        direction = drawn[place]
        to_output = largest_cosine(direction.vector, unembedding)
        to_blocks = max((largest_cosine(direction.vector, part) for part in rows), default=0.0)
        yield RowResult(
            READERS,
            {
                "kind": direction.kind,
                "label": direction.label,
                "cosine_unembedding": to_output,
                "cosine_read_in": to_blocks,
                "threshold": reached,
                "censored": reached is None,
            },
        )
        yield Progress("measuring thresholds", len(found) + 1, len(drawn))
        if reached is not None:
            found.append((direction.kind, to_output, to_blocks, reached))
    numbers = np.array([row[1:] for row in found]).reshape(-1, 3)
    kinds = [row[0] for row in found]
    within = numbers - np.array([numbers[[k == kind for k in kinds]].mean(0) for kind in kinds]).reshape(-1, 3)
    shares = [explained_by(values[:, :2], values[:, 2]) for values in (numbers, within)]
    if not np.isnan(shares[0]):
        yield Note(
            f"Cosines with the unembedding and with later read-in weights explain {shares[0]:.0%} of the variance of "
            f"{len(found)} thresholds, and {shares[1]:.0%} of it within kinds (linear fits, in sample)."
        )


EXPERIMENTS.register(
    Experiment(
        name="sae-geometry",
        summary="decoder cosines, L0 on random inputs, and whether read-off directions explain thresholds",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=(
            {"kind": "sae-feature", "count": 16},
            {"kind": "random-mixture", "count": 16},
            {"kind": "isotropic", "count": 16},
        ),
        options=GeometryOptions,
        tables={
            COSINES: (
                "decoder",
                "decoder_nearest",
                "isotropic",
                "isotropic_nearest",
                "covariance_matched",
                "covariance_matched_nearest",
            ),
            L0: ("l0", "positive"),
            ACTIVE: ("activation", "cosine_to_strongest"),
            READERS: ("cosine_unembedding", "cosine_read_in", "threshold"),
        },
        needs_sae=always,
    )
)
