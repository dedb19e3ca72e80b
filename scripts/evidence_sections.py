"""The sections of the model's card that rest on runs: a claim each, its numbers, and whether it holds.

Knows runs and their statistics; runs nothing and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.aggregates import Aggregate, bootstrap_interval, quantile, select, value_of
from engine.printable import printable
from sessions.reader import Run

BASES = {
    "random@real-other": "real, in its own text",
    "random@real-other@site": "real, in the prompt",
    "random@random": "made up, in the prompt",
}


def plateaus(trained: Run, untrained: Run) -> str:
    rows, typical = [], trained.info["typical_distance"]
    for name, run in (("trained", trained), ("untrained", untrained)):
        unit = run.info["typical_distance"]
        for selector, word in BASES.items():
            curves = select(run.summaries, selector)
            known = [s for s in curves if s.plateau_length is not None or s.plateau_censored]
            left = [math.inf if s.plateau_length is None else s.plateau_length / unit for s in known]
            rows.append(
                f"| {name} | {word} | {len(curves)} | {median(run, 'kl_near', selector)} | "
                f"{median(run, 'quadratic_near', selector)} | {median(run, 'near_share', selector)} | "
                f"{median(run, 'threshold', selector, unit)} | {median(run, 'quadratic_ratio', selector)} | "
                f"{float(np.isfinite(left).mean()):.0%} | {_number(quantile(np.array(left), 0.5))} |"
            )
    bases = len({s.base for s in select(trained.summaries, "random@real-other")})
    own, real, made_up = BASES
    verdicts = [
        _below(
            "Around a real activation the output changes less than around a made-up one in the same context (KL near, nats)",
            (trained, "kl_near", real),
            (trained, "kl_near", made_up),
        ),
        _below(
            "so it does by the quadratic prediction alone: there is less curvature (quadratic near, nats)",
            (trained, "quadratic_near", real),
            (trained, "quadratic_near", made_up),
        ),
        _below(
            "A made-up one needs a shorter push to reach 0.5 nats (threshold, td)",
            (trained, "threshold", made_up),
            (trained, "threshold", real),
            typical,
        ),
        f"- At 0.2 td KL lies below the parabola of its own base on {_flatter(trained, own)} of the curves around real "
        f"activations, {_flatter(trained, real)} in the prompt, {_flatter(trained, made_up)} around made-up ones: the rest "
        "is steeper there already.",
        _below(
            "From there KL rises more steeply than its own curvature says, around real activations more than around made-up "
            "ones (over quadratic; 1 is a parabola)",
            (trained, "quadratic_ratio", real),
            (trained, "quadratic_ratio", made_up),
        ),
        _below(
            "KL near is a smaller share of the height reached than around a made-up one (near share)",
            (trained, "near_share", real),
            (trained, "near_share", made_up),
        ),
        _below("and than in the untrained twin", (trained, "near_share", own), (untrained, "near_share", own)),
        _below(
            "The same of made-up activations, trained against untrained",
            (trained, "near_share", made_up),
            (untrained, "near_share", made_up),
        ),
    ]
    return f"""## Evidence: plateaus

`dirscope --batch plateaus` and `plateaus-untrained`: {bases} bases of each kind, pushed in covariance-matched random \
directions at `{trained.recipe.site.write}`. Made-up bases all sit in one prompt, so their partner is the row of real activations
written into that prompt. Medians over curves with 95 % bootstrap intervals over bases; *td* is the typical distance \
between two real activations ({trained.info["typical_distance"]:.3g} trained, {untrained.info["typical_distance"]:.3g} untrained). *KL near* is KL at 0.2 td, *quadratic near* its Fisher
prediction there, *near share* KL near over KL at 1.5 td (a parabola has 0.018; more where KL saturates, less where it rises late),
*over quadratic* the threshold over where that prediction reaches 0.5 nats (1 is a parabola, less is steeper). *Leaves* is the share
of curves whose L2 at the last layer ever exceeds 1.1 x its initial line, *plateau* the median distance where it does. The
untrained twin's logits are so small that no push reaches 0.5 nats: only what has no scale can be compared with it.

| weights | base | curves | KL near | quadratic near | near share | threshold, td | over quadratic | leaves | plateau, td |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{chr(10).join(verdicts)}"""


def directions(up: Run, down: Run) -> str:
    """Every kind of direction; `down` has SAE features with the other sign."""
    typical = up.info["typical_distance"]
    kinds = [(up, k, k) for k in dict.fromkeys(s.kind for s in up.summaries)]
    at = [k for _, k, _ in kinds].index("sae-feature")
    kinds[at : at + 1] = [(up, "sae-feature", "sae-feature, up"), (down, "sae-feature", "sae-feature, down")]
    rows = "\n".join(
        f"| {name} | {count(run, k):.0f} | {median(run, 'threshold', k, typical)} | "
        f"{median(run, 'native_norm', k, typical)} | {value_of(Aggregate('censored', (k,)), run.summaries):.0%} |"
        for run, k, name in kinds
    )
    verdicts = [
        wins(up, "real-other", "random", "Towards another real activation is more sensitive than towards a random one"),
        wins(up, "real-mixture", "random-mixture", "A difference of real activations beats one of random targets"),
        wins(up, "sae-feature", "random-mixture", "The strongest SAE features, up, beat the random mixture"),
        wins(down, "sae-feature", "random-mixture", "The strongest SAE features, down, beat the random mixture"),
        wins(up, "sae-feature", "real-mixture", "The strongest SAE features, up, beat the real mixture"),
        wins(down, "sae-feature", "real-mixture", "The strongest SAE features, down, beat the real mixture"),
        wins(up, "sae-error", "random-mixture", "The SAE's error beats the random mixture"),
        wins(up, "random-mixture", "isotropic", "The random mixture beats the naive isotropic baseline"),
    ]
    bases = len({s.base for s in up.summaries})
    return f"""## Evidence: sensitive directions

`dirscope --batch sensitive-directions`: {bases} real bases, all directions at equal distance, typical distance \
{typical:.3g}. Thresholds are where KL reaches 0.5 nats. Compare within a family: *random* and *real-other* are targets
minus the base; the others are vectors in their own right. SAE features are the three most active at each base, pushed up (more of
what is there already) or down (`--set 'directions.4.sign="-"'`: the feature is gone at its native length, and beyond that is negative).

| direction | curves | median threshold, td | native length, td | never reached |
|---|---|---|---|---|
{rows}

A win rate is the mean over bases of the chance that the first kind reaches 0.5 nats before the second. Where a threshold is
far beyond the native length, as for SAE features and errors, it says how the model takes what never occurs.

{chr(10).join(verdicts)}"""


def late(*runs: Run) -> str:
    """The same at ever later hooks, the last of them after every block."""
    rate = Aggregate("win_rate", ("real-other", "random"))
    rows, gaps = [], []
    for run in runs:
        typical, value = run.info["typical_distance"], value_of(rate, run.summaries)
        low, high = bootstrap_interval(rate, run.summaries)
        gaps.append((value - 0.5, low - 0.5, high - 0.5))
        rows.append(
            f"| `{run.recipe.site.write}` | {median(run, 'threshold', 'real-other', typical)} | "
            f"{median(run, 'threshold', 'random', typical)} | {value:.3f} ({low:.3f} to {high:.3f}) |"
        )
    early = runs[0].recipe.site.write
    verdicts = [
        f"- The gap at `{early}` is gone at `{run.recipe.site.write}`: {_gone(gaps[0], gap)}."
        for run, gap in zip(runs[1:], gaps[1:], strict=True)
    ]
    return f"""## Evidence: late-layer control

`dirscope --batch late-layer`: the same written before the last block, and after it (`--set \
site.write={runs[-1].recipe.site.write}`), where only the final norm and the unembedding are left to compute. Where the gap comes from
later computation, it should vanish; what is left of it after the last block is not computation but where the targets lie.

| write | threshold real-other, td | threshold random, td | win rate real-other before random |
|---|---|---|---|
{chr(10).join(rows)}

{chr(10).join(verdicts)}"""


def _gone(early: tuple[float, float, float], late: tuple[float, float, float]) -> str:
    """Whether a gap with its interval has gone, in words."""
    (first, first_low, first_high), (last, last_low, last_high) = early, late
    change = f"from {first:+.3f} to {last:+.3f}"
    if first_low <= 0 <= first_high:
        return f"**cannot be told**, as there is none to go ({change})"
    if last_low <= 0 <= last_high:
        return f"**holds**, {change}, which cannot be told from none"
    if max(-last_low, last_high) < first_low:
        return f"**partly**, it shrinks {change}, but is still there"
    return f"**does not hold**, it is still there ({change}); whether it shrinks cannot be told"


def steering(run: Run, control: Run) -> str:
    rows, points = run.tables["rollouts"], run.tables["points"]
    shown = [r for r in rows if r["number"] == 0 and r["strength"] == control.recipe.options.strengths[0]][:4]
    pairs = "\n".join(f"| {one_line(r['unsteered'])} | {one_line(r['steered'])} |" for r in shown)
    table = "\n".join(_best(row) for row in run.tables["best"] if row["success"] is not None)
    others = control.tables["points"][1:]
    hits = [float(p["success"]) for p in others]
    costs = [float(p["delta_ce"]) for p in others]
    return f"""## Evidence: steering

`dirscope --batch steering`: vectors added at `{run.recipe.site.write}` to the last token of "{run.recipe.site.prompt}" and every later
one, as a share of the residual's length there. Success: a completion with one of *{", ".join(run.recipe.options.words)}*,
{points[0]["success"]:.0%} without steering ({points[0]["success_low"]:.0%} to {points[0]["success_high"]:.0%}, n = {points[0]["samples"]}). Damage: cross-entropy added on held-out samples
behind the first steered token. Of each vector, the most successful strength that adds at most {run.recipe.options.budget:g} nats, with 95 % intervals
(picked among {len(run.recipe.options.strengths)}, so somewhat too good):

| vector | share of length | success | loss added | KL |
|---|---|---|---|---|
{table}
| {len(others)} random mixtures | {others[0]["share_of_norm"]:.0%} | {np.mean(hits):.0%} ({min(hits):.0%} to {max(hits):.0%} between them) | {np.mean(costs):+.2f} | {np.mean([p["kl"] for p in others]):.2f} |

The first vector at {shown[0]["share_of_norm"]:.0%} of the length:

| unsteered | steered, the same random numbers |
|---|---|
{pairs}"""


def _best(row: Mapping[str, Any]) -> str:
    success = f"{row['success']:.0%} ({row['success_low']:.0%} to {row['success_high']:.0%})"
    return f"| {row['label']} | {row['share_of_norm']:.0%} | {success} | {row['delta_ce']:+.2f} | {row['kl']:.2f} |"


def count(run: Run, kind: str) -> float:
    return value_of(Aggregate("n", (kind,)), run.summaries)


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return "-" if math.isnan(value) else f"{value:.3g}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{_number(value)} ({_number(low)} to {_number(high)})" if not math.isnan(value) else "-"


def median(run: Run, column: str, kind: str, unit: float = 1.0) -> str:
    aggregate = Aggregate("median", (column, kind))
    low, high = bootstrap_interval(aggregate, run.summaries)
    return _interval(value_of(aggregate, run.summaries) / unit, low / unit, high / unit)


def mean(run: Run, column: str, table: str) -> str:
    aggregate = Aggregate("mean", (column, f"table:{table}"))
    return _interval(value_of(aggregate, (), run.tables), *bootstrap_interval(aggregate, (), run.tables))


def _flatter(run: Run, selector: str) -> str:
    """Share of curves that lie below the Fisher prediction of their own base at 0.2 typical distances."""
    pairs = [(s.kl_near, s.quadratic_near) for s in select(run.summaries, selector)]
    return (
        f"{np.mean([near < predicted for near, predicted in pairs if near is not None and predicted is not None]):.0%}"
    )


def _below(claim: str, first: tuple[Run, str, str], second: tuple[Run, str, str], unit: float = 1.0) -> str:
    """A claim that the first median lies below the second: told only where their intervals are apart."""
    words, bounds = [], []
    for run, column, selector in (first, second):
        aggregate = Aggregate("median", (column, selector))
        low, high = bootstrap_interval(aggregate, run.summaries)
        bounds.append((low, high))
        words.append(_interval(value_of(aggregate, run.summaries) / unit, low / unit, high / unit))
    (low, high), (other_low, other_high) = bounds
    word = "holds" if high < other_low else "the opposite holds" if other_high < low else "cannot be told"
    return f"- {claim}: **{word}** ({words[0]} against {words[1]})."


def wins(run: Run, first: str, second: str, claim: str) -> str:
    rate = Aggregate("win_rate", (first, second))
    value, (low, high) = value_of(rate, run.summaries), bootstrap_interval(rate, run.summaries)
    word = "holds" if low > 0.5 else "the opposite holds" if high < 0.5 else "cannot be told"
    return f"- {claim}: **{word}** (win rate {value:.3f}, {low:.3f} to {high:.3f})."


def one_line(text: object) -> str:
    return " ".join(printable(str(text)).split()).replace("|", "\\|")
