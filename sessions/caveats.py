"""What a reader of a report should know before believing it: sentences, each for the runs that it applies to.

Knows what a run asked for and what it came to; shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from engine.directions import DIRECTIONS
from sessions.reader import Run

Applies = Callable[[Run], bool]


def _kinds(run: Run) -> set[str]:
    return {spec.kind for spec in run.recipe.directions}


def _bases(run: Run) -> set[str]:
    return {spec.kind for spec in run.recipe.bases}


def _n_bases(run: Run) -> int:
    return sum(spec.count for spec in run.recipe.bases)


def _has_curves(run: Run) -> bool:
    return bool(run.curves)


def _steers_with_sae(run: Run) -> bool:
    return run.info.get("sae") is not None


CAVEATS: Final[tuple[tuple[str, Applies], ...]] = (
    (
        "One base is an anecdote: thresholds differ between prompts by more than between kinds of direction.",
        lambda run: _n_bases(run) == 1 and run.recipe.experiment != "natural-variation",
    ),
    (
        "So few bases say little, however many curves there are: look at the width of the intervals, which rest on "
        "bases.",
        lambda run: 1 < _n_bases(run) < 20,
    ),
    (
        "Any smooth model is flat near zero: read a plateau against the quadratic prediction and against the same "
        "recipe "
        "with untrained weights.",
        lambda run: _has_curves(run) and run.recipe.model.weights == "trained",
    ),
    (
        "A plateau and directions that are more sensitive than others do not by themselves prove superposition or "
        "error "
        "correction: correct, smooth behaviour on the data with linear read-off has both.",
        _has_curves,
    ),
    (
        "Made-up bases sit in the prompt's context: compare them with real activations written into that prompt "
        "(real-other@site), not with ones in their own text.",
        lambda run: bool(_bases(run) & {"random", "isotropic", "synthetic-baseline", "synthetic-structured"}),
    ),
    (
        "Isotropic directions are no fair baseline: most of their length lies where real activations do not vary.",
        lambda run: "isotropic" in _kinds(run) | _bases(run),
    ),
    (
        "Target-minus-base directions hold the base's own removal, differences of two activations do not: kinds of one "
        "family compare, kinds of different ones hardly do.",
        lambda run: len({DIRECTIONS[kind].family for kind in _kinds(run)}) > 1,
    ),
    (
        'Norms of made-up activations are their own unless the recipe says norm = "matched": a difference between '
        "kinds of "
        "base may be one of norms.",
        lambda run: len(_bases(run)) > 1 and bool(_bases(run) - {"prompt", "real-other"}),
    ),
    (
        "Angles are from the raw origin of the basis; from the mean of the data they would be others.",
        lambda run: run.recipe.path.mode == "sphere",
    ),
    (
        "The max-slope step depends on step size and range, which stand above, and is noisy on flat curves: of a "
        "curve that "
        "never reaches the level it says little.",
        _has_curves,
    ),
    (
        "An SAE's encoder may say anything on activations unlike those it was trained on; its decoder rows need not "
        "have "
        "length 1, and its encoder rows point elsewhere.",
        _steers_with_sae,
    ),
    (
        "Features of an SAE are its own: that the model is sensitive to one does not show that it uses it, nor the "
        "reverse.",
        lambda run: "sae-feature" in _kinds(run),
    ),
    (
        "Synthetic activations exchange latents for others of like frequency; the source's exact sampling is not "
        "published, "
        "and how well each was matched is recorded with it.",
        lambda run: any(kind.startswith("synthetic-") for kind in _kinds(run) | _bases(run)),
    ),
    (
        "Loss recovered misleads where ablating breaks the model altogether: judge by nats.",
        lambda run: run.recipe.experiment in ("sae-fidelity", "sae-error"),
    ),
    (
        "p is of one feature; of many features the smallest are small by chance too.",
        lambda run: run.recipe.experiment == "rank-features",
    ),
    (
        "Position 0 has an odd norm and sees no context.",
        lambda run: run.info.get("site", {}).get("position") == 0,
    ),
    (
        "Weights are bfloat16: what lies below the noise floor is no result.",
        lambda run: run.info.get("noise_floor") is not None,
    ),
    (
        "Untrained weights: the null. Their logits are small, so only what has no scale compares with a trained model.",
        lambda run: run.recipe.model.weights == "reinitialised",
    ),
    (
        "This run has not ended, or was stopped before its end: what is here is whole, the rest is missing. --resume "
        "goes on "
        "with a stopped one.",
        lambda run: run.status != "done",
    ),
)


def caveats(run: Run) -> list[str]:
    """Those that apply to a run, with the warnings that it made itself."""
    own = [text for text in run.info.get("warnings", ()) if isinstance(text, str)]
    return [*own, *(text for text, applies in CAVEATS if applies(run))]
