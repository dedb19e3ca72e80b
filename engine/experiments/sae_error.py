"""`sae-error`: does what an SAE gets wrong hurt more than other changes of the same length?

For every hook (and SAE) named: table `substitution`, a row per base, KL with SAE(x) in place of x at the site's
position, and with controls as far from x as SAE(x) is; table `everywhere`, a row per text, the same at all positions
but the first, by cross-entropy and KL per token, with the covariance of real activations at the site's position; table
`ratios`, the means over each other with bootstrap intervals. Errors were found 2 to 4.5 times as harmful as isotropic
changes (Gurnee, "SAE reconstruction errors are (empirically) pathological", 2024), and no longer so against
covariance-matched mixtures (Lee & Heimersheim, arXiv 2410.12555).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from engine.experiments import EXPERIMENTS, Experiment, Names, NoOptions, always

if TYPE_CHECKING:
    from engine.laboratory import Laboratory
    from engine.results import CurveResult, Event

SUBSTITUTION, EVERYWHERE, RATIOS = "substitution", "everywhere", "ratios"
CONTROLS = ("isotropic", "random", "mixture", "norm")


class SaeErrorOptions(NoOptions):
    """Where, with which SAEs, and how much text."""

    hooks: Names = Field((), description="a list of hook point names; site.write alone without")
    sae_ids: Names = Field((), description="a list of as many SAE ids of the release; sae.sae_id without")
    texts: int = Field(100, ge=0, description="a whole number of at least 0: texts in which all positions are replaced")
    tokens: int = Field(64, ge=3, description="a whole number of at least 3: tokens of a text, BOS included")

    @model_validator(mode="after")
    def _aligned(self) -> SaeErrorOptions:
        if self.sae_ids and len(self.sae_ids) != len(self.hooks):
            raise ValueError(f"sae_ids must name one SAE for each of {len(self.hooks)} hooks; got {len(self.sae_ids)}")
        return self


def _run(lab: Laboratory) -> Iterator[Event]:
    from engine.elsewhere import at, moved
    from engine.errors import RecipeError

    options = lab.recipe.options
    assert isinstance(options, SaeErrorOptions)
    kinds = {spec.kind for spec in lab.recipe.directions}
    known = {"sae-error", *(f"sae-error-{control}" for control in CONTROLS)}
    if "sae-error" not in kinds or not kinds <= known or len(kinds) == 1:
        raise RecipeError(
            f"sae-error compares the direction sae-error with some of {', '.join(sorted(known - {'sae-error'}))}; got "
            f"{', '.join(sorted(kinds))}: give it these."
        )
    hooks = options.hooks or (lab.where.write.name,)
    ids = options.sae_ids or (lab.recipe.sae.sae_id,) * len(hooks)
    path = {"mode": "straight", "steps": 1, "stop": "native"}
    places = [
        at(lab, moved(lab.recipe, site={"write": hook}, sae={"sae_id": sae_id}, path=path))
        for hook, sae_id in zip(hooks, ids, strict=True)
    ]
    controls = [control for control in CONTROLS if f"sae-error-{control}" in kinds]
    if lab.noise is not None and options.texts:
        from engine.results import Note

        yield Note(
            "In bfloat16 KL everywhere is not held against a noise floor: small ones may be rounding.", "warning"
        )
    for number, place in enumerate(places):
        yield from _Place(lab, place, number, controls).run()


class _Place:
    """One hook with one SAE."""

    def __init__(self, lab: Laboratory, there: Laboratory, number: int, controls: Sequence[str]) -> None:
        options = lab.recipe.options
        assert isinstance(options, SaeErrorOptions)
        self._lab, self._there, self._number, self._controls = lab, there, number, controls
        self._options = options
        self._n_bases = lab.recipe.n_bases
        sae = there.features
        fit = there.sae_fit
        self._where = {
            "hook": there.where.write.name,
            "sae_id": sae.sae_id,
            "sae_sha256": sae.sha256[:16],
            "l0": fit.l0,
            "unexplained": fit.unexplained,
        }

    def run(self) -> Iterator[Event]:
        rows = {SUBSTITUTION: self._held(SUBSTITUTION), EVERYWHERE: self._held(EVERYWHERE)}
        for step in (self._substitution, self._everywhere):
            yield from step(rows)
        for number, row in enumerate(self._ratios(rows)):
            if number >= len(self._held(RATIOS)):
                yield row

    def _held(self, table: str) -> list[Mapping[str, Any]]:
        return [row for row in self._lab.held.rows.get(table, ()) if row["place"] == self._number]

    def _row(self, table: str, values: Mapping[str, Any]) -> Any:
        from engine.results import RowResult

        return RowResult(table, {"place": self._number, **self._where, **values})

    def _substitution(self, rows: dict[str, list[Mapping[str, Any]]]) -> Iterator[Event]:
        from engine.elsewhere import at, curves_by_base
        from engine.results import Progress

        done = len(rows[SUBSTITUTION])
        if done == self._n_bases:
            return
        for found in curves_by_base(at(self._lab, self._there.recipe, done)):
            if not isinstance(found, tuple):
                yield found
                continue
            base, curves = found
            row = self._row(SUBSTITUTION, {"base": base, "sample": base, **_of_base(curves, self._controls)})
            rows[SUBSTITUTION].append(row.values)
            yield row
            yield Progress(f"substituting at {self._where['hook']}", len(rows[SUBSTITUTION]), self._n_bases)

    def _everywhere(self, rows: dict[str, list[Mapping[str, Any]]]) -> Iterator[Event]:
        from engine.dictionaries.splice import Texts
        from engine.passages import at_once, passages
        from engine.results import Progress

        lab, there, done = self._lab, self._there, len(rows[EVERYWHERE])
        if not self._options.texts:
            return
        texts, first = passages(there, self._options.texts, self._options.tokens)
        several = at_once(there.model, texts)
        for start in range(done // several * several, len(texts), several):
            lab.checkpoint()
            part = texts[start : start + several]
            with there.features.at(lab.model.device):
                found = Texts(lab.model, there.features, there.where.write, part, first)
            numbers = range(start, start + len(part))
            measured = {"error": found.replaced(found.rebuilt)}
            for control in self._controls:
                measured[control] = found.replaced(self._control(control, found.x, found.rebuilt, numbers))
            for i, number in enumerate(numbers):
                if number < done:
                    continue
                values: dict[str, Any] = {"text": number, "sample": number, "tokens": found.counted}
                values["ce_clean"] = float(found.ce_clean[i].mean())
                for name, (ce, kl) in measured.items():
                    values[f"delta_ce_{name}"] = float(ce[i].mean()) - values["ce_clean"]
                    values[f"kl_{name}"] = float(kl[i].mean())
                row = self._row(EVERYWHERE, values)
                rows[EVERYWHERE].append(row.values)
                yield row
            yield Progress(f"replacing everywhere at {self._where['hook']}", numbers.stop, len(texts))

    def _control(self, control: str, x: Any, rebuilt: Any, numbers: range) -> Any:
        """Vectors [n x pos, d] as far from x as the reconstruction is; each text draws from a stream of its own."""
        import numpy as np

        from engine.drawing import isotropic
        from engine.randomness import stream

        width = len(x) // len(numbers)
        lengths = np.linalg.norm(rebuilt - x, axis=1, keepdims=True)
        if control == "norm":
            sizes = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
            outward = np.where(np.linalg.norm(rebuilt, axis=1, keepdims=True) >= sizes, 1.0, -1.0)
            return x + outward * x / sizes * lengths
        found = []
        population = self._there.population
        for number in numbers:
            rng = stream(self._lab.seed, f"sae-error/everywhere/{control}", number)
            if control == "isotropic":
                found += [isotropic(rng, x.shape[1], self._there.centred) for _ in range(width)]
            elif control == "mixture":
                found.append(
                    population.covariance_matched_many(rng, width) - population.covariance_matched_many(rng, width)
                )
            else:
                found.append(population.covariance_matched_many(rng, width))
        draws = np.concatenate([np.atleast_2d(part) for part in found])
        if control == "random":
            draws = draws - x
        return x + draws / np.linalg.norm(draws, axis=1, keepdims=True) * lengths

    def _ratios(self, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Event]:
        import numpy as np

        from engine.contrasts import ratio_of_means

        for table, metrics in ((SUBSTITUTION, ("kl",)), (EVERYWHERE, ("kl", "delta_ce"))):
            if not rows[table]:
                continue
            for control in self._controls:
                values: dict[str, Any] = {"replaced": table, "control": control, "n": len(rows[table])}
                for metric in ("kl", "delta_ce"):
                    for name in ("ratio", "low", "high"):
                        values[f"{metric}_{name}"] = None
                for metric in metrics:
                    above, below = (
                        np.array([np.nan if (v := row[f"{metric}_{name}"]) is None else v for row in rows[table]])
                        for name in ("error", control)
                    )
                    found = ratio_of_means(above, below)
                    for name, value in zip(("ratio", "low", "high"), (found.value, found.low, found.high), strict=True):
                        values[f"{metric}_{name}"] = value if np.isfinite(value) else None
                yield self._row(RATIOS, values)


def _of_base(curves: Sequence[CurveResult], controls: Sequence[str]) -> dict[str, Any]:
    """KL of the reconstruction and mean KL of each control's draws; p: share of draws that hurt as much."""
    import numpy as np

    by_kind: dict[str, list[float | None]] = {}
    for curve in curves:
        by_kind.setdefault(curve.summary.kind, []).append(curve.summary.final_kl)
    error = next(c for c in curves if c.summary.kind == "sae-error")
    observed = error.summary.final_kl
    values: dict[str, Any] = {
        "length": error.summary.native_norm,
        "share_of_norm": error.detail["share_of_norm"],
        "kl_error": observed,
    }
    for control in controls:
        draws = [kl for kl in by_kind[f"sae-error-{control}"] if kl is not None]
        values[f"kl_{control}"] = float(np.mean(draws)) if draws else None
        more = None if observed is None else (1 + sum(kl >= observed for kl in draws)) / (1 + len(draws))
        values[f"p_{control}"] = more
    return values


_KLS = tuple(f"kl_{name}" for name in ("error", *CONTROLS))
EXPERIMENTS.register(
    Experiment(
        name="sae-error",
        summary="SAE(x) in place of x against other changes of the same length, at one position and at all",
        run=_run,
        default_bases=({"kind": "real-other", "count": 100},),
        default_directions=(
            {"kind": "sae-error"},
            *({"kind": f"sae-error-{control}", "count": 4} for control in CONTROLS[:3]),
            {"kind": "sae-error-norm"},
        ),
        has_paths=False,
        brings_saes=True,
        options=SaeErrorOptions,
        tables={
            SUBSTITUTION: ("l0", "length", "share_of_norm", *_KLS, *(f"p_{name}" for name in CONTROLS)),
            EVERYWHERE: ("l0", "ce_clean", *_KLS, *(f"delta_{k.replace('kl', 'ce')}" for k in _KLS)),
            RATIOS: ("l0", "n", "kl_ratio", "kl_low", "kl_high", "delta_ce_ratio", "delta_ce_low", "delta_ce_high"),
        },
        needs_sae=always,
    )
)
