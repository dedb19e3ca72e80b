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
    return run.recipe.n_bases


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
        "Mixtures of targets lie nearer to the mean of the data than their corners: read a triangle with a real corner "
        "against one of random corners from the same base.",
        lambda run: run.recipe.experiment == "triangle",
    ),
    (
        "A vocabulary misses successes and can be satisfied by nonsense: read success with the damage and the texts. "
        "Intervals of the best point are too good, as it was picked on the same completions.",
        lambda run: run.recipe.experiment == "steering",
    ),
    (
        "Equal multiples of vectors of different lengths are not equal pushes: compare the length added, its share of "
        'the residual\'s, or use unit = "fraction" or "kl".',
        lambda run: run.recipe.experiment == "steering" and len(run.recipe.directions) > 1,
    ),
    (
        "Padding of a shorter prompt brings its own features into a vector that goes token by token: project them out.",
        lambda run: any(getattr(spec, "pad", "") for spec in run.recipe.directions),
    ),
    (
        "In one quadrant a tilted ellipse looks like any exponent: read p_plus against p_plus_quadratic, or use p.",
        lambda run: run.recipe.experiment == "mixtures",
    ),
    (
        "A direction that is no optimum can be improved in nearly every slice, since either side will do: read shares "
        "of slices against those of directions that mean nothing.",
        lambda run: run.recipe.experiment == "local-optimum",
    ),
    (
        "Held parts see a stream that no run of the model has: what holding a part changes is not what removing it "
        "would.",
        lambda run: run.recipe.experiment == "mechanism",
    ),
    (
        "A search finds local maxima of one response at one distance; other distances and read hooks have others.",
        lambda run: run.recipe.experiment == "search",
    ),
    (
        "A seal keeps labels out of sight, not out of reach: whoever has the run can open it.",
        lambda run: run.recipe.experiment == "blind-test",
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
