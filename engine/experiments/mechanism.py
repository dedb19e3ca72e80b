"""`mechanism`: which part of the model makes the plateau? The same rays with parts held at what the base run gave.

MLPs, attention or norms of all blocks behind the write, and of each block alone; straight lines and the sphere. A part
whose holding makes the curve rise from the start, as a line does, was what kept it flat (Shinkle & Heimersheim,
"activation plateau mechanisms", 2025: freezing MLPs removes plateaus, freezing attention does not). Held norms stay
linear, with the base run's divisor. Table `mechanism`: a row for each curve. Table `profiles`: medians over the curves
of each condition, step by step, as shares of where the path ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, Strict, field_validator

from engine.experiments import EXPERIMENTS, Experiment, NoOptions, distinct

if TYPE_CHECKING:
    from engine.freezing import Frozen
    from engine.laboratory import Laboratory
    from engine.results import CurveResult, Event, Series

TABLE, PROFILES = "mechanism", "profiles"
Parts = Annotated[tuple[Literal["mlp", "attn", "norm"], ...], Strict(False)]
Modes = Annotated[tuple[Literal["straight", "sphere"], ...], Strict(False)]
COLUMNS = ("layer", "threshold", "width", "start", "near_share", "quadratic_ratio", "area", "final_l2", "final_kl")


class MechanismOptions(NoOptions):
    """What is held, and along which paths."""

    parts: Parts = Field(("mlp", "attn", "norm"), min_length=1, description="a list out of 'mlp', 'attn' and 'norm'")
    modes: Modes = Field(("straight", "sphere"), min_length=1, description="a list out of 'straight' and 'sphere'")
    each_layer: bool = Field(True, description="true or false: whether each block is held alone too")

    once = field_validator("parts", "modes")(distinct)


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.elsewhere import at, curves_by_base, moved
    from engine.forward import Forward
    from engine.freezing import freezer
    from engine.results import Progress, RowResult

    options = lab.recipe.options
    assert isinstance(options, MechanismOptions)
    conditions = [(mode, at, frozen) for mode in options.modes for at, frozen in _conditions(lab, options)]
    # All are looked up first, so that a part that cannot be held is said before anything is computed.
    freezers = {frozen: freezer(lab.model, (frozen,)) for _, _, frozen in conditions if frozen is not None}
    each = len(lab.direction_order)
    held, profiled = lab.held.rows.get(TABLE, ()), lab.held.rows.get(PROFILES, ())
    number, steps = 0, lab.recipe.path.steps + 1
    total = len(conditions) * lab.recipe.n_bases
    for condition, (mode, name, frozen) in enumerate(conditions):
        where = {
            "mode": mode,
            "frozen": "nothing" if frozen is None else frozen.part,
            "at": name,
            "layer": None if frozen is None or len(frozen.layers) > 1 else frozen.layers[0],
        }
        # Profiles are of all curves: a condition that lacks its own is measured from its first base.
        whole = len(profiled) >= (condition + 1) * steps
        first, number = number, number + lab.recipe.n_bases * each
        if whole:
            continue
        path = {"mode": mode, **({} if mode == lab.recipe.path.mode else {"stop": "auto"})}
        there = at(lab, moved(lab.recipe, path=path))
        if frozen is not None:
            reads = there.where.reads
            there.forward = Forward(lab.model, there.where.write, reads, there.checkpoint, freezers[frozen])
        curves: list[CurveResult] = []
        for found in curves_by_base(there):
            if not isinstance(found, tuple):
                yield found
                continue
            base, mine = found
            for direction, curve in enumerate(mine):
                if first + base * each + direction >= len(held):
                    values = _values(curve, there.where.reads[-1].name)
                    yield RowResult(
                        TABLE, {**where, "base": base, "sample": base, "kind": curve.summary.kind, **values}
                    )
            curves += mine
            yield Progress("holding", condition * lab.recipe.n_bases + base + 1, total)
        for step, row in enumerate(profile(curves, there.where.reads[-1].name)):
            if condition * steps + step >= len(profiled):
                yield RowResult(PROFILES, {**where, "step": step, **row})


def _conditions(lab: Laboratory, options: MechanismOptions) -> list[tuple[str, Frozen | None]]:
    """Nothing held; each part of all blocks behind the write; each of one block. By name of the place."""
    from engine.errors import RecipeError
    from engine.freezing import Frozen
    from engine.hooks import HOOK_POST

    write, last = lab.where.write, lab.model.n_layers
    first = {
        "attn": write.layer + (not write.in_stream),
        # What is written behind attention, but not behind the MLP, is read by the MLP and its norm in the same block.
        "mlp": write.layer + (write.stage >= HOOK_POST),
        "norm": write.layer + (write.stage >= HOOK_POST),
    }
    found: list[tuple[str, Frozen | None]] = [("-", None)]
    for part in options.parts:
        everywhere = tuple(range(first[part], last + (part == "norm")))
        if everywhere:
            found.append(("all", Frozen(part, everywhere)))
        if options.each_layer and len(everywhere) > 1:
            found += [("final" if i == last else f"block {i}", Frozen(part, (i,))) for i in everywhere]
    if len(found) == 1:
        raise RecipeError(f"Behind {write.name} nothing of {', '.join(options.parts)} is left to hold: write earlier.")
    return found


def _values(curve: CurveResult, read: str) -> dict[str, Any]:
    """The numbers of one curve that tell a plateau from a line."""
    summary, l2 = curve.summary, curve.values[read]["l2"]
    start, end = (_reaches(curve.coordinate, l2, share) for share in (0.1, 0.9))
    return {
        "threshold": summary.threshold,
        "censored": summary.censored,
        "width": None if start is None or end is None else end - start,
        "start": start,
        "near_share": summary.near_share,
        "quadratic_ratio": summary.quadratic_ratio,
        "area": summary.area,
        "final_l2": float(l2[-1]),
        "final_kl": summary.final_kl,
    }


def _reaches(coordinate: Series, l2: Series, share: float) -> float | None:
    """Where L2 first reaches a share of what it ends at, as a share of the path: on a line, the share itself."""
    from engine.curves import threshold

    if not l2[-1] > 0:
        return None
    found = threshold(coordinate, l2, share * float(l2[-1]))
    return None if found is None else found / float(coordinate[-1])


def profile(curves: Sequence[CurveResult], read: str) -> Iterator[dict[str, Any]]:
    """Medians over curves at each step: KL, L2, and L2 as a share of where the curve ends."""
    import numpy as np

    kl = np.array([c.kl for c in curves])
    l2 = np.array([c.values[read]["l2"] for c in curves])
    ends = np.where(l2[:, -1:] > 0, l2[:, -1:], np.nan)
    coordinate = np.median([c.coordinate for c in curves], axis=0)
    for step in range(kl.shape[1]):
        shares = (l2 / ends)[:, step]
        known = shares[np.isfinite(shares)]
        yield {
            "coordinate": float(coordinate[step]),
            "kl": float(np.median(kl[:, step])),
            "l2": float(np.median(l2[:, step])),
            "l2_share": float(np.median(known)) if len(known) else None,
            "n": len(curves),
        }


EXPERIMENTS.register(
    Experiment(
        name="mechanism",
        summary="the same rays with MLPs, attention or norms held at the base run",
        run=_run,
        default_bases=({"kind": "real-other", "count": 8},),
        default_directions=({"kind": "real-other", "count": 2}, {"kind": "random", "count": 2}),
        options=MechanismOptions,
        tables={TABLE: COLUMNS, PROFILES: ("coordinate", "kl", "l2", "l2_share")},
    )
)
