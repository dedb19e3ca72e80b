"""Whether an SAE is the right one: it is asked to rebuild this model's own activations before anything is drawn.

A wrong one loads without a word: a TopK SAE read as ReLU (sae-lens issue 553), one without its `b_dec`, one trained on
another model of the same width, or on differently processed weights. What gives each away was measured on the bundled
SAEs and is said beside the numbers below. Knows SAEs and populations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.dictionaries.sae import Sae
from engine.drawing import Population
from engine.errors import SaeError

REFUSED_UNEXPLAINED: Final = 0.9
"""An SAE that explains a tenth of the variance knows nothing of these activations: bundled ones leave 0.03 to 0.12 at
their own place, 0.35 to 1.6 at another layer, 6 to 60 on untrained weights."""
REFUSED_TIMES: Final = 10.0
"""Times what is declared, if that is more than `REFUSED_AT_LEAST`."""
REFUSED_AT_LEAST: Final = 0.25
SUSPECT_UNEXPLAINED: Final = 0.3
"""Where nothing is declared."""
UNEXPLAINED_SLACK: Final = (2.0, 0.05)
"""Times and plus what is declared over all positions: at a single position 0.01 becomes up to 0.04."""
SUSPECT_L0: Final = 1.35
"""Factor from what is declared, either way: TopK (32) read as ReLU gives 46 to 114."""
REFUSED_L0: Final = 3.0
SUSPECT_CONSTANT: Final = 0.12
"""Share of the error that is the same in every context: 0.01 to 0.06 for the right one, 0.15 to 0.4 without b_dec."""
CONSTANT_MATTERS: Final = 1.25
"""Times the declared unexplained variance, below which a constant error is let be."""
OTHER_PROCESSING: Final = 0.5
"""An SAE that leaves less than half as much unexplained on otherwise centred activations was trained on those."""
TOPK_LIKE: Final = frozenset({"topk", "abstopk"})


@dataclass(frozen=True)
class Fit:
    """How well an SAE rebuilds a population."""

    unexplained: float
    """Fraction of the variance of the vectors."""
    l0: float
    """Mean number of active features."""
    constant: float
    """Share of the squared error that its mean over the population makes."""
    refusal: str = ""
    """Why it must not be used; empty where it may."""
    warnings: tuple[str, ...] = ()


def fit(sae: Sae, population: Population, pause: Callable[[], None] = lambda: None) -> Fit:
    """Measure and judge an SAE on real activations; `pause` is called now and then, and may raise to give up."""
    found = _measured(sae, population, pause)
    name, declared = f"SAE {sae.release} / {sae.sae_id}", sae.declared
    refusals, warnings = [], []
    if declared.trained_as in TOPK_LIKE and sae.architecture not in TOPK_LIKE:
        refusals.append(
            f"{name} was trained as {declared.trained_as} but is loaded as {sae.architecture}, which makes other "
            "features active: mend the architecture in its cfg.json."
        )
    factor = 1.0 if declared.l0 is None else found.l0 / declared.l0
    far = (
        f"{name} has {found.l0:.3g} features active on these activations (L0), but {declared.l0 or 0:.3g} are declared"
    )
    if factor > REFUSED_L0:
        refusals.append(f"{far}: its activation function or threshold is not the one it was trained with.")
    elif factor > SUSPECT_L0 or factor < 1 / SUSPECT_L0:
        warnings.append(f"{far}: is it loaded with its own activation function, and is this its model?")
    times, plus = UNEXPLAINED_SLACK
    allowed = SUSPECT_UNEXPLAINED if declared.unexplained is None else times * declared.unexplained + plus
    said = "nothing is declared" if declared.unexplained is None else f"{_share(declared.unexplained)} is declared"
    limit = REFUSED_UNEXPLAINED
    if declared.unexplained is not None:
        limit = min(limit, max(REFUSED_AT_LEAST, REFUSED_TIMES * declared.unexplained))
    if not math.isfinite(found.unexplained + found.l0 + found.constant):
        refusals.append(f"{name} makes numbers of these activations that are not finite: its weights are damaged.")
    elif found.unexplained > limit:
        refusals.append(
            f"{name} leaves {_share(found.unexplained)} of the variance of these activations unexplained ({said}), so "
            "it is not of this model, hook or weights: choose another, or set sae.check = 'warn' to use it anyway."
        )
    elif found.unexplained > allowed:
        warnings.append(
            f"{name} leaves {_share(found.unexplained)} of the variance unexplained here, but {said}: is it of this "
            "model, hook and kind of text?"
        )
    if found.constant > SUSPECT_CONSTANT and found.unexplained > CONSTANT_MATTERS * (declared.unexplained or 0.05):
        warnings.append(
            f"{found.constant:.0%} of the error of {name} is the same in every context, as where b_dec is missing or "
            "was not rescaled."
        )
    other = _otherwise_processed(sae, population, pause)
    if other is not None and other < OTHER_PROCESSING * found.unexplained:
        how = "without" if sae.uncentred else "with"
        warnings.append(
            f"{name} leaves {_share(other)} instead of {_share(found.unexplained)} unexplained on residuals {how} "
            "their mean over d_model: what its cfg.json says of center_writing_weights may be wrong."
        )
    return replace(found, refusal=" ".join(refusals[:1]), warnings=tuple(warnings))


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.1 else f"{value:.1%}"


def usable(sae: Sae, found: Fit, strict: bool) -> tuple[str, ...]:
    """Warnings to show; the refusal is one of them where the user, or an untrained model, takes it all the same.

    Raises:
        SaeError: The SAE is not the right one.
    """
    if found.refusal and strict:
        raise SaeError(found.refusal)
    return (*([found.refusal] if found.refusal else []), *found.warnings)


def _measured(sae: Sae, population: Population, pause: Callable[[], None]) -> Fit:
    x = population.vectors.astype(np.float64)
    squared, active, error = 0.0, 0.0, np.zeros(x.shape[1])
    for rows, l0, rebuilt in sae.rebuilt(population.vectors, population.means):
        pause()
        apart = rebuilt - x[rows]
        squared += float((apart**2).sum())
        active += float(l0.sum())
        error += apart.sum(0)
    variance = float(((x - x.mean(0)) ** 2).sum())
    constant = float(error @ error) / len(x) / squared if squared > 0 else 0.0
    return Fit(squared / variance if variance > 0 else np.inf, active / len(x), constant)


def _otherwise_processed(sae: Sae, population: Population, pause: Callable[[], None]) -> float | None:
    """What it leaves unexplained on activations centred the other way; None where there is no other way."""
    if not sae.centre:
        return None
    return _measured(replace(sae, uncentred=not sae.uncentred), population, pause).unexplained
