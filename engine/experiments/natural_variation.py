"""`natural-variation`: how far apart are activations that mean much the same, on the axis of the plateau?

If a plateau is what keeps natural variation from moving the output, prompts that share the last token and their sense
lie inside of it (LawrenceC's comment on Heimersheim & Mendel 2024). Table `plateau`: KL along the recipe's directions.
Table `cloud`: each of `options.prompts`, and the prompt itself cut to its last 1, 2, ... tokens, by distance and angle
from the base, with the KL when its activation is written in place of the base. Table `truncated`: how alike the
activation of the cut prompt is at every layer, by mean-centred cosine ("Fact Finding" post 5, 2023, whose square is the
share of the squared length).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, Names, NoOptions, unheld

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import CurveResult, Event

PLATEAU, CLOUD, TRUNCATED = "plateau", "cloud", "truncated"


class VariationOptions(NoOptions):
    """What is compared with the prompt."""

    prompts: Names = Field((), description="a list of prompts that share the last token")
    longest: int = Field(10, ge=0, description="a whole number of at least 0: tokens of the longest cut context")


@unheld
def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.elsewhere import at, curves_by_base, moved
    from engine.errors import RecipeError
    from engine.results import Note

    if lab.stop is None:
        raise RecipeError('path.stop = "native" gives the directions no common axis: use "auto" or a number.')
    if [spec.kind for spec in lab.recipe.bases] != ["prompt"]:
        raise RecipeError("natural-variation is about the prompt's own activation: leave [[bases]] out.")
    alone = moved(lab.recipe)
    curves: list[CurveResult] = []
    for found in curves_by_base(at(lab, alone)):
        if isinstance(found, tuple):
            curves = found[1]
        else:
            yield found
    radius = yield from _plateau(lab, curves)
    yield from _cloud(lab, radius)
    if lab.recipe.options.model_dump()["longest"] and lab.position >= int(lab.where.bos):
        yield from _truncated(lab)
    if lab.where.read_position != lab.position:
        yield Note("Other prompts are read at their last token and written at the site's position.")


def _plateau(lab: Laboratory, curves: list[CurveResult]) -> Any:
    """KL of all directions at each distance; gives the median threshold, None where most never reach the level."""
    import numpy as np

    from engine.aggregates import quantile
    from engine.bands import band
    from engine.results import RowResult

    whole = band([c.coordinate for c in curves], [c.kl for c in curves])
    for k, coordinate in enumerate(whole.coordinate):
        values = {"axis": _axis(lab), "coordinate": float(coordinate), "n": int(whole.n[k])}
        names = ("low", "median", "high")
        values |= {name: float(v) for name, v in zip(names, whole.quantiles[1:4, k], strict=True)}
        yield RowResult(PLATEAU, values)
    reached = np.array([np.inf if c.summary.threshold is None else c.summary.threshold for c in curves])
    radius = quantile(reached, 0.5)
    return float(radius) if np.isfinite(radius) else None


def _axis(lab: Laboratory) -> str:
    """Of what plateau ends and `crossed_at` are told."""
    return "degrees" if lab.recipe.path.mode == "sphere" else "L2"


def _contexts(lab: Laboratory) -> Iterator[tuple[str, str, list[int]]]:
    """What is compared: its sort, its text, its tokens."""
    options = lab.recipe.options
    assert isinstance(options, VariationOptions)
    for prompt in options.prompts:
        yield "prompt", prompt, lab.model.encode(prompt, lab.recipe.site.bos)
    ids = lab.where.token_ids[: lab.position + 1]
    first = int(lab.where.bos)
    for length in range(1, min(options.longest, len(ids) - first - 1) + 1):
        cut = [*ids[:first], *ids[-length:]]
        yield "truncated", "".join(lab.model.strings(cut[first:])), cut


def _cloud(lab: Laboratory, radius: float | None) -> Iterator[Event]:
    import numpy as np

    from engine.directions.vector import packed
    from engine.elsewhere import at, curves_by_base, moved
    from engine.paths import angle_between
    from engine.results import Note, Progress, RowResult

    if not lab.recipe.options.model_dump()["prompts"]:
        yield Note("Prompts to compare go into options.prompts; without any, only cut contexts are compared.")
    x, stop = lab.site.vector.astype(np.float64), float(lab.stop or 0)
    mean, typical = lab.population.mean, lab.population.typical_distance
    found, tables = [], []
    for sort, text, ids in _contexts(lab):
        lab.checkpoint()
        y = lab.activation_of(ids).vector
        same = ids[-1] == lab.where.token_ids[lab.position]
        if sort == "prompt" and not same:
            yield Note(
                f"{text!r} ends in another token than the prompt, which is more than natural variation.", "warning"
            )
        found.append((sort if same else "other token", text, ids, y, same))
        if np.linalg.norm(y - x) > 1e-5 * np.linalg.norm(x):
            tables.append({"kind": "vector", "label": str(len(found) - 1), "data": packed(y - lab.site.vector)})
    curves: dict[int, CurveResult] = {}
    if tables:
        path = {"mode": "straight", "stop": "native"}
        there = at(lab, moved(lab.recipe, bases=[{"kind": "prompt"}], directions=tables, path=path))
        for measured in curves_by_base(there):
            if isinstance(measured, tuple):
                curves = {int(c.summary.label): c for c in measured[1]}
            else:
                yield measured
    for number, (sort, text, ids, y, same) in enumerate(found):
        distance = float(np.linalg.norm(y - x))
        angle = float(angle_between(x, y.astype(np.float64)))
        curve = curves.get(number)
        kl = curve.summary.final_kl if curve else 0.0
        crossed = curve.summary.threshold if curve else None
        coordinate = angle if lab.recipe.path.mode == "sphere" else distance
        yield RowResult(
            CLOUD,
            {
                "sort": sort,
                "text": text,
                "tokens": len(ids) - int(lab.where.bos),
                "same_token": same,
                "distance": distance,
                "share_of_typical": distance / typical,
                "angle": angle,
                "cosine": _cosine(x, y),
                "cosine_centred": _cosine(x - mean, y - mean),
                "kl": kl,
                "crossed_at": crossed,
                "plateau_ends": radius,
                "axis": _axis(lab),
                "inside": coordinate < (stop if radius is None else radius),
            },
        )
        yield Progress("comparing", number + 1, len(found))


def _cosine(a: Any, b: Any) -> float:
    import numpy as np

    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def _truncated(lab: Laboratory) -> Iterator[Event]:
    import numpy as np

    from engine.hooks import default_read, parse_hook
    from engine.paths import angle_between
    from engine.results import Progress, RowResult
    from engine.statistics import read_windows

    model, population = lab.model, lab.population
    contexts = [(ids, len(ids) - int(lab.where.bos)) for sort, _, ids in _contexts(lab) if sort == "truncated"]
    whole = np.array([lab.where.token_ids[: lab.position + 1]], dtype=np.int32)
    for layer in range(model.n_layers):
        hook = parse_hook(default_read(layer + 1), model.n_layers)
        mean = read_windows(model, hook, population.token_ids, population.index, lab.checkpoint)[0].mean(0, np.float64)
        base = read_windows(model, hook, whole, lab.position)[0][0].astype(np.float64)
        for ids, length in contexts:
            row = read_windows(model, hook, np.array([ids], dtype=np.int32), len(ids) - 1)[0][0].astype(np.float64)
            centred = _cosine(base - mean, row - mean)
            yield RowResult(
                TRUNCATED,
                {
                    "layer": layer,
                    "hook": hook.name,
                    "tokens": length,
                    "distance": float(np.linalg.norm(row - base)),
                    "angle": float(angle_between(base, row)),
                    "cosine": _cosine(base, row),
                    "cosine_centred": centred,
                    "share_of_square": centred**2,
                },
            )
        yield Progress("cutting the context", layer + 1, model.n_layers)


EXPERIMENTS.register(
    Experiment(
        name="natural-variation",
        summary="prompts that share the last token, and cut contexts, on the plateau's axis",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "random", "count": 16},),
        options=VariationOptions,
        tables={
            PLATEAU: ("coordinate", "low", "median", "high"),
            CLOUD: ("distance", "share_of_typical", "angle", "cosine", "cosine_centred", "kl", "inside"),
            TRUNCATED: ("layer", "tokens", "distance", "angle", "cosine", "cosine_centred", "share_of_square"),
        },
    )
)
