"""`interaction`: what two pushes do together beyond what each does alone, over a grid of both strengths.

E(a, b) - E(a, 0) - E(0, b) + E(0, 0), the non-linear excess (Nanda et al., "Fact Finding", 2023): positive where only
both together act (AND), negative where either alone does it (OR). For effects that are linear in the output 0 means
that pushes add up: the log-probability of the base's own next token, and the residual stream at the last read hook as a
vector, whose excess is a length and a share of what both pushes do alone. KL is none of these: where everything adds up
it still has the excess a b u'Fv of its curvature, which stands beside it (`kl_quadratic_excess`). The pushes go along
the recipe's first two directions, from 0 to the path's end each. Table `interaction`: a row for each pair of strengths,
the axes first. Table `excess`: means over each base's grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions

if TYPE_CHECKING:
    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event, Series

TABLE, EXCESS = "interaction", "excess"
EFFECTS = ("kl", "log_prob")
"""Those that have an excess; L2 has none that means anything, being a norm."""


class InteractionOptions(NoOptions):
    """How fine."""

    resolution: int = Field(16, ge=2, le=128, description="a whole number from 2 to 128: steps of each strength")


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.errors import RecipeError
    from engine.results import RowResult

    if len(lab.recipe_order) < 2:
        raise RecipeError("interaction needs two directions; the recipe has one: give it count = 2, or two tables.")
    if lab.recipe.path.mode == "sphere":
        raise RecipeError('interaction adds two pushes, which leaves the sphere: use path.mode = "straight".')
    if lab.stop is None:
        raise RecipeError('path.stop = "native" gives the two strengths no common end: use "auto" or a number.')
    for number, base in enumerate(lab.bases()):
        rows = yield from _grid(lab, base, number, float(lab.stop))
        if number >= lab.held.count(EXCESS):
            yield RowResult(EXCESS, {"base": number, "sample": number, **excess_of(rows, lab.recipe.metrics.level)})


def _grid(lab: Laboratory, base: Base, number: int, stop: float) -> Any:
    """Rows of one base; gives all of them."""
    import numpy as np

    from engine.maps import square
    from engine.points import readings
    from engine.results import Note, Progress, RowResult

    resolution = int(lab.recipe.options.model_dump()["resolution"])
    ends = [lab.draw(spec, base, index) for spec, index in lab.recipe_order[:2]]
    u = np.stack([lab.ray(base, end.vector, end.label).u for end in ends])
    places = square(resolution)
    # Interiors are told by what the axes gave, which therefore come first.
    places = [p for p in places if 0 in p.at] + [p for p in places if 0 not in p.at]
    axes = sum(0 in p.at for p in places)
    strengths = np.array([p.at for p in places]) * stop / resolution
    offsets = strengths @ u
    held = [dict(row) for row in lab.held.rows.get(TABLE, ())[number * len(places) : (number + 1) * len(places)]]
    rows, done = held, len(held)
    cross = _cross(lab, base, u)
    alone: dict[tuple[int, int], tuple[np.ndarray, dict[str, float]]] = {}
    where = {"base": number, "first": ends[0].label, "second": ends[1].label, "cosine": float(u[0] @ u[1])}
    for part in (slice(0, axes), slice(axes, len(places))):
        skip = 0 if part.start == 0 else max(0, done - axes)
        for found in readings(lab, base, offsets[part], skip=skip):
            if isinstance(found, Note):
                yield found
                continue
            effects, stream = _effects(found)
            for n, at in enumerate(found.places):
                place = places[part.start + at]
                i, j = place.at
                mine = {name: float(values[n]) for name, values in effects.items()}
                if 0 in place.at:
                    alone[i, j] = stream[n], mine
                if part.start + at < done:
                    continue
                row = {
                    **where,
                    "i": i,
                    "j": j,
                    "stride": place.stride,
                    "alpha": float(strengths[part.start + at, 0]),
                    "beta": float(strengths[part.start + at, 1]),
                    **mine,
                    "kl_quadratic_excess": cross * float(strengths[part.start + at].prod()),
                    **_excess(stream[n], mine, alone[i, 0], alone[0, j], alone[0, 0]),
                }
                rows.append(row)
                yield RowResult(TABLE, row)
            yield Progress("measuring", number * len(places) + len(rows), lab.recipe.n_bases * len(places))
    return rows


def _cross(lab: Laboratory, base: Base, u: Series) -> float:
    """u'Fv at the base, nats per unit of both strengths: half of what the Fisher forms of u + v, u and v differ by."""
    import numpy as np
    import torch

    from engine import metrics

    hosts = lab.hosts_of([base])
    row = lab.base_row(base, hosts.raw[0]).to(lab.model.dtype).to(lab.model.device)[None]
    tangents = torch.from_numpy(np.stack([u[0], u[1], u[0] + u[1]])).to(row)[None]
    logits, derivative = lab.forward.derivative(hosts, row, tangents, lab.layout.rule)
    first, second, both = metrics.fisher_form(logits[0], derivative[0]).tolist()
    return float(both - first - second) / 2


def _effects(found: Any) -> Any:
    """Each effect [n], and the stream at the last read hook [n, d], of one pass."""
    import torch

    from engine import metrics

    logits = torch.cat([found.front_logits, found.logits]).double().log_softmax(-1)
    top = int(logits[0].argmax())
    effects = {
        "kl": metrics.kl(found.front_logits[0], found.logits).cpu().numpy(),
        "l2": metrics.l2(found.front_reads[-1][0], found.reads[-1]).cpu().numpy(),
        "log_prob": (logits[1:, top] - logits[0, top]).cpu().numpy(),
    }
    stream = found.reads[-1].double() - found.front_reads[-1][0].double()
    return effects, stream.cpu().numpy()


def _excess(stream: Any, mine: Mapping[str, float], first: Any, second: Any, none: Any) -> dict[str, Any]:
    import numpy as np

    found = {f"{name}_excess": mine[name] - first[1][name] - second[1][name] + none[1][name] for name in EFFECTS}
    beyond = float(np.linalg.norm(stream - first[0] - second[0] + none[0]))
    both = float(np.linalg.norm(first[0]) + np.linalg.norm(second[0]))
    # On an axis one push is none, and nothing is beyond the other but rounding.
    inside = np.linalg.norm(first[0]) > 0 and np.linalg.norm(second[0]) > 0
    return {**found, "stream_excess": beyond, "stream_share": beyond / both if inside and both > 0 else 0.0}


_EXCESSES = (*(f"{name}_excess" for name in EFFECTS), "kl_quadratic_excess")


def excess_of(rows: Sequence[Mapping[str, Any]], level: float) -> dict[str, Any]:
    """Means over the grid without its axes; shares of it where both together act and where either does.

    `and_share` and `or_share`: where the excess of KL is above `level`, and below minus `level`.
    """
    import numpy as np

    inside = [row for row in rows if row["i"] and row["j"]]
    kl = np.array([row["kl_excess"] for row in inside])
    return {
        **{name: float(np.mean([row[name] for row in inside])) for name in _EXCESSES},
        "stream_share": float(np.mean([row["stream_share"] for row in inside])),
        "and_share": float((kl > level).mean()),
        "or_share": float((kl < -level).mean()),
    }


EXPERIMENTS.register(
    Experiment(
        name="interaction",
        summary="two pushes together against each alone, over both strengths",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "real-other", "count": 2},),
        options=InteractionOptions,
        tables={
            TABLE: ("alpha", "beta", "l2", *EFFECTS, *_EXCESSES, "stream_excess", "stream_share"),
            EXCESS: (*_EXCESSES, "stream_share", "and_share", "or_share"),
        },
    )
)
