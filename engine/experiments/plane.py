"""`plane`: the output over the plane through three activations, and which of the three it is nearest to.

The anchors are the base and the ends of the recipe's first two directions; the plane's axes are orthonormal, so that
distances on the map are L2 distances. Every point is written in place of the base and compared with what each anchor
gives in the same context: KL(anchor || point). Between real activations the outputs form regions with narrow borders
(Heimersheim & Mendel 2024, second figure, whose authors say that it is normalised wrongly: the shape is to be
compared, not the values; Janiak et al., "Stable regions", arXiv 2409.17113). On `path.mode = "sphere"` every point is
scaled to the base's length. Table `plane`: a row for each point, coarse ones first. Table `anchors`: how much of each
anchor's surroundings is flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event, Series

TABLE, ANCHORS = "plane", "anchors"
RANKS = 5
"""Next tokens kept of each point."""


class PlaneOptions(NoOptions):
    """How fine and how far."""

    resolution: int = Field(32, ge=2, le=256, description="a whole number from 2 to 256: points along an edge")
    margin: float = Field(
        0.25, ge=0, le=10, strict=False, description="a number from 0 to 10: room around the anchors, of their extent"
    )


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.errors import RecipeError
    from engine.results import RowResult

    if len(lab.recipe_order) < 2:
        raise RecipeError(
            "plane needs two directions, to the second and the third anchor; the recipe has "
            f"{len(lab.recipe_order)}: give a kind count = 2, or two tables."
        )
    for number, base in enumerate(lab.bases()):
        anchors, rows = yield from _map(lab, base, number)
        for place, row in enumerate(anchors_of(anchors, rows, lab.recipe.metrics.level)):
            if number * len(anchors) + place >= lab.held.count(ANCHORS):
                yield RowResult(ANCHORS, {"base": number, "sample": number, **row})


def _map(lab: Laboratory, base: Base, number: int) -> Any:
    """Rows of one base's map; gives its anchors and all of its rows."""
    import numpy as np

    from engine import metrics
    from engine.maps import square
    from engine.points import readings
    from engine.results import Note, Progress, RowResult

    options = lab.recipe.options
    assert isinstance(options, PlaneOptions)
    ends = [lab.draw(spec, base, index) for spec, index in lab.recipe_order[:2]]
    axes, anchors = plane_of([end.vector.astype(np.float64) for end in ends])
    grid = _grid(anchors, options.resolution, options.margin)
    places = square(options.resolution)
    uv = np.array([grid[list(place.at), [0, 1]] for place in places])
    x = base.vector.astype(np.float64)

    def offsets(at: Series) -> Series:
        moved = at @ axes
        if lab.recipe.path.mode == "straight":
            return np.asarray(moved)
        there = x + moved
        return np.asarray(there / np.linalg.norm(there, axis=1, keepdims=True) * np.linalg.norm(x) - x)

    total = len(places)
    held = [dict(row) for row in lab.held.rows.get(TABLE, ())[number * total : (number + 1) * total]]
    rows, done = held, len(held)
    for found in readings(lab, base, offsets(uv), offsets(anchors[1:]), done):
        if isinstance(found, Note):
            yield found
            continue
        kls = np.stack([metrics.kl(front, found.logits).cpu().numpy() for front in found.front_logits])
        l2s = np.stack([metrics.l2(front, found.reads[-1]).cpu().numpy() for front in found.front_reads[-1]])
        ids, probabilities = metrics.top_tokens(found.logits, RANKS)
        for n, at in enumerate(found.places):
            if at < done:
                continue
            place = places[at]
            row = {
                "base": number,
                "i": place.at[0],
                "j": place.at[1],
                "stride": place.stride,
                "u": float(uv[at, 0]),
                "v": float(uv[at, 1]),
                "b_u": float(anchors[1, 0]),
                "c_u": float(anchors[2, 0]),
                "c_v": float(anchors[2, 1]),
                **{f"kl_{a}": float(kls[a, n]) for a in range(3)},
                **{f"l2_{a}": float(l2s[a, n]) for a in range(3)},
                "nearest": "ABC"[int(np.nan_to_num(kls[:, n], nan=np.inf).argmin())],
                "tokens": [lab.workshop.token_string(lab.model, int(t)) for t in ids[n]],
                "probabilities": [float(p) for p in probabilities[n]],
            }
            rows.append(row)
            yield RowResult(TABLE, row)
        yield Progress("measuring", number * total + len(rows), lab.recipe.n_bases * total)
    labels = [base.label, *(end.label for end in ends)]
    lengths = np.linalg.norm(x + offsets(anchors), axis=1)
    told = [
        {"anchor": name, "what": label, "u": float(u), "v": float(v), "norm": float(length)}
        for name, label, (u, v), length in zip("ABC", labels, anchors, lengths, strict=True)
    ]
    return told, rows


def plane_of(ends: Sequence[NDArray[Any]]) -> tuple[Series, Series]:
    """Orthonormal axes [2, d] of the plane that two vectors span, and the anchors [3, 2] on them, the first at 0, 0.

    Raises:
        DirectionError: The three points lie on a line.
    """
    import numpy as np

    from engine.errors import DirectionError

    first, second = (np.asarray(end, dtype=np.float64) for end in ends)
    long = float(np.linalg.norm(first))
    e1 = first / max(long, 1e-30)
    across = second - (second @ e1) * e1
    wide = float(np.linalg.norm(across))
    if wide <= 1e-6 * max(long, float(np.linalg.norm(second))) or long == 0:
        raise DirectionError("The three anchors lie on one line, which is no plane: choose other directions.")
    return np.stack([e1, across / wide]), np.array([[0.0, 0.0], [long, 0.0], [float(second @ e1), wide]])


def _grid(anchors: Series, resolution: int, margin: float) -> Series:
    """Coordinates [resolution + 1, 2] along each axis: a square around the anchors."""
    import numpy as np

    low, high = anchors.min(0), anchors.max(0)
    half = float((high - low).max()) * (1 + 2 * margin) / 2
    steps = np.linspace(-half, half, resolution + 1)
    return np.asarray((low + high) / 2 + steps[:, None])


def anchors_of(
    anchors: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], level: float
) -> list[dict[str, Any]]:
    """Each anchor with how flat its surroundings are.

    `flat_share`: of the points between the anchors that lie nearest to it on the plane, the share whose output is
    within `level` nats of its own. `own_share`: the share whose output is nearest to its own.
    """
    import numpy as np

    at = np.array([[row["u"], row["v"]] for row in rows])
    corners = np.array([[anchor["u"], anchor["v"]] for anchor in anchors])
    # Where the model overflows there is none, which is neither flat nor near.
    kls = np.array([[np.inf if row[f"kl_{a}"] is None else row[f"kl_{a}"] for a in range(3)] for row in rows])
    closest = np.linalg.norm(at[:, None] - corners, axis=-1).argmin(1)
    # Barycentric weights: all of them positive between the anchors.
    edges = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)
    weights = np.linalg.solve(edges, (at - corners[0]).T).T
    inside = (weights >= -1e-9).all(1) & (weights.sum(1) <= 1 + 1e-9)
    found = []
    for a, anchor in enumerate(anchors):
        mine = inside & (closest == a)
        others = [float(np.linalg.norm(corners[a] - corners[b])) for b in range(3) if b != a]
        found.append(
            {
                **anchor,
                "nearest_anchor": min(others),
                "points": int(mine.sum()),
                "flat_share": float((kls[mine, a] < level).mean()) if mine.any() else None,
                "own_share": float((kls[mine].argmin(1) == a).mean()) if mine.any() else None,
            }
        )
    return found


EXPERIMENTS.register(
    Experiment(
        name="plane",
        summary="output over the plane through three activations: regions, next tokens",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "real-other", "count": 2},),
        options=PlaneOptions,
        tables={
            TABLE: ("u", "v", "kl_0", "kl_1", "kl_2", "l2_0", "l2_1", "l2_2"),
            ANCHORS: ("u", "v", "norm", "nearest_anchor", "points", "flat_share", "own_share"),
        },
    )
)
