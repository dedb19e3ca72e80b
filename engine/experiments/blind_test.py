"""`blind-test`: real SAE features and made-up ones, shuffled; can they be told apart by their curves alone?

From one prompt: `real` features drawn among the most active ones, and as many parts of an arbitrary decomposition of
the same activation, matched to them in length and in angle to the base (StefanHex, shortform on SAE features and model
features, 2024: tell five real features from five made-up ones with similar properties, without the dataset). Which is
which, the seed that drew and shuffled them, and their vectors are sealed until an answer is given (`engine.sealing`):
the seed comes from the operating system, not from the recipe, so that the recipe tells nothing. Table `items`: a row
for each step of each curve. Table `seal`: one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, always
from engine.sealing import TABLE as SEAL

if TYPE_CHECKING:
    from engine.drawing import Base
    from engine.laboratory import Laboratory
    from engine.results import Event

ITEMS = "items"
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
POOL = 3
"""Real ones are drawn among this many times their number of most active features."""


class BlindOptions(NoOptions):
    """How many of either sort."""

    real: int = Field(5, ge=1, le=13, description="a whole number from 1 to 13")


def _run(lab: Laboratory) -> Iterator[Event]:
    import secrets

    from engine.curves import max_slope_step, threshold
    from engine.directions.vector import unpacked
    from engine.errors import RecipeError, RunFolderError
    from engine.paths import grid
    from engine.results import Note, Progress, RowResult
    from engine.sealing import Seal, seal, unseal
    from engine.sweep import Start, Sweep

    if lab.stop is None:
        raise RecipeError(
            'path.stop = "native" would show how long each direction is, which may tell them apart: use "auto" or a '
            "number."
        )
    if [(spec.kind, spec.count) for spec in lab.recipe.bases] != [("prompt", 1)]:
        raise RecipeError("blind-test is about the prompt's own activation: leave [[bases]] out.")
    base = next(lab.bases())
    # A run that goes on, or is verified, has its seal already.
    closed = Seal.of(lab.held.rows.get(SEAL, ())) or lab.held.seal
    content = drawn_with(lab, base, secrets.randbits(62)) if closed is None else unseal(closed)
    if closed is None:
        closed = seal(content)
    elif not _alike(content, drawn_with(lab, base, int(content["seed"]))):
        raise RunFolderError(
            "What is sealed in this test is not what its seed draws: it was changed, or the SAE is another. Run a new "
            "one."
        )
    if not lab.held.count(SEAL):
        yield RowResult(SEAL, {"sealed": closed.sealed, "commitment": closed.commitment})
    items, steps = content["items"], lab.recipe.path.steps + 1
    done = lab.held.count(ITEMS)
    if done >= len(items) * steps:
        return
    hosts = lab.hosts_of([base])
    rays = [lab.ray(base, unpacked(item["vector"]), "an item of the test") for item in items]
    coordinates = [grid(lab.stop, lab.recipe.path.steps)] * len(rays)
    sweep = Sweep(
        forward=lab.forward,
        hosts=hosts,
        starts=[Start(lab.base_row(base, hosts.raw[0]), rays, coordinates)],
        layout=lab.layout,
        book=lab.workshop.layouts,
    )
    for event in sweep.run():
        if isinstance(event, Note):
            yield event
    values = sweep.measured.values
    read = values[lab.where.reads[-1].name]
    for number, name in enumerate(NAMES[: len(items)]):
        kl, l2 = values["logits"]["kl"][0, number], read["l2"][0, number]
        whole = {
            "threshold": threshold(coordinates[number], kl, lab.recipe.metrics.level),
            "max_slope_step": max_slope_step(l2),
        }
        for step in range(steps):
            if number * steps + step < done:
                continue
            row = {
                "item": name,
                "step": step,
                "axis": "degrees" if lab.recipe.path.mode == "sphere" else "L2",
                "coordinate": float(coordinates[number][step]),
                "kl": float(kl[step]),
                "l2": float(l2[step]),
                "cosine": float(read["cosine"][0, number, step]),
            }
            yield RowResult(ITEMS, {**row, **whole})
        yield Progress("measuring", number + 1, len(items))


def _alike(sealed: Mapping[str, Any], drawn: Mapping[str, Any]) -> bool:
    """Whether two tests are one, up to rounding of their vectors on another machine."""
    import numpy as np

    from engine.directions.vector import unpacked

    def same(a: str, b: str) -> bool:
        drawn_again = unpacked(b)
        return np.allclose(unpacked(a), drawn_again, rtol=1e-3, atol=1e-3 * float(np.abs(drawn_again).max()))

    return len(sealed["items"]) == len(drawn["items"]) and all(
        all(a[name] == b[name] for name in ("real", "label", "feature")) and same(a["vector"], b["vector"])
        for a, b in zip(sealed["items"], drawn["items"], strict=True)
    )


def drawn_with(lab: Laboratory, base: Base, seed: int) -> dict[str, Any]:
    """What is sealed: the seed, and each item in the order in which they are shown.

    Raises:
        DirectionError: Too few features are active at the base.
    """
    import numpy as np

    from engine.directions.fake_feature import rotation
    from engine.directions.vector import packed
    from engine.drawing import strongest
    from engine.errors import DirectionError
    from engine.randomness import stream

    many = int(lab.recipe.options.model_dump()["real"])
    activations = lab.features.activations(base)
    active = strongest(activations)
    if len(active) < max(2, 2 * many):
        raise DirectionError(
            f"A test with {many} real features needs {max(2, 2 * many)} active ones, and {len(active)} are active at "
            "this base: lower options.real or choose another token."
        )
    contributions = lab.features.contributions(base, active)
    chosen = stream(seed, "blind-test/real").permutation(min(len(active), POOL * many))[:many]
    fakes = rotation(stream(seed, "blind-test/made-up"), len(active)) @ contributions
    items = []
    left = list(range(len(fakes)))
    for number in chosen:
        real = contributions[number]
        fit = [_unlike(base, real, fakes[i]) for i in left]
        match = left.pop(int(np.argmin(fit)))
        fake = fakes[match] * np.linalg.norm(real) / np.linalg.norm(fakes[match])
        about = {"feature": int(active[number]), "activation": float(activations[active[number]])}
        items.append({"real": True, "label": f"#{active[number]}", "vector": packed(real), **about})
        items.append({"real": False, "label": f"made up to match #{active[number]}", "vector": packed(fake), **about})
    order = stream(seed, "blind-test/order").permutation(len(items))
    return {"seed": seed, "items": [items[i] for i in order]}


def _unlike(base: Base, real: Any, fake: Any) -> float:
    """How badly a made-up direction matches a real one: in cosine with the base, and in the logarithm of its length."""
    import numpy as np

    x = base.vector.astype(np.float64)
    lengths = [max(float(np.linalg.norm(v)), 1e-30) for v in (real, fake)]
    norm = float(np.linalg.norm(x))
    cosines = [float(v @ x) / (length * norm) for v, length in zip((real, fake), lengths, strict=True)]
    return abs(cosines[0] - cosines[1]) + 0.25 * abs(float(np.log(lengths[0] / lengths[1])))


EXPERIMENTS.register(
    Experiment(
        name="blind-test",
        summary="tell real SAE features from made-up ones by their curves alone",
        run=_run,
        default_bases=({"kind": "prompt"},),
        default_directions=({"kind": "sae-feature"}, {"kind": "fake-feature", "count": 1}),
        sections={"path": {"mode": "sphere"}},
        options=BlindOptions,
        tables={ITEMS: ("coordinate", "kl", "l2", "cosine", "threshold", "max_slope_step"), SEAL: ()},
        needs_sae=always,
    )
)
