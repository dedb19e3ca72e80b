"""The sections of the model's card that rest on runs: a claim each, its numbers, and whether it holds.

Knows runs and their statistics; runs nothing and writes nothing.
"""

from __future__ import annotations

import math

import numpy as np

from engine.expect import Aggregate, bootstrap_interval, evaluate, parse_check, select, value_of
from sessions.printable import printable
from sessions.reader import Run

BASES = {
    "random@real-other": "real, in its own text",
    "random@real-other@site": "real, in the prompt",
    "random@random": "made up, in the prompt",
}


def plateaus(trained: Run, untrained: Run) -> str:
    rows = []
    for name, run in (("trained", trained), ("untrained", untrained)):
        typical = run.info["typical_distance"]
        for selector, word in BASES.items():
            curves = select(run.summaries, selector)
            known = [s for s in curves if s.plateau_length is not None or s.plateau_censored]
            left = [s.plateau_length / typical for s in curves if s.plateau_length is not None]
            rows.append(
                f"| {name} | {word} | {len(curves)} | {_median(run, 'kl_near', selector)} | "
                f"{_median(run, 'quadratic_near', selector)} | {_median(run, 'near_share', selector)} | "
                f"{_median(run, 'threshold', selector, typical)} | {_median(run, 'quadratic_ratio', selector)} | "
                f"{len(left) / len(known):.0%} | {_number(float(np.median(left)) if left else math.nan)} |"
            )
    bases = len({s.base for s in select(trained.summaries, "random@real-other")})
    verdicts = [
        _verdict(
            trained,
            "Around a real activation the output changes less than around a made-up one in the same context (KL at 0.2 td)",
            "ci_high(median(kl_near, 'random@real-other@site')) < ci_low(median(kl_near, 'random@random'))",
        ),
        _verdict(
            trained,
            "It takes a longer push to reach 0.5 nats",
            "ci_low(median(threshold, 'random@real-other@site')) > ci_high(median(threshold, 'random@random'))",
        ),
        _verdict(
            trained,
            "KL from a real activation grows faster than its own curvature says: a flat start, then a jump",
            "ci_high(median(quadratic_ratio, 'random@real-other')) < 1",
        ),
        _verdict(
            trained,
            "and the start is flatter, for the height reached, than from a made-up one",
            "ci_high(median(near_share, 'random@real-other@site')) < ci_low(median(near_share, 'random@random'))",
        ),
        _apart(
            "and flatter, for the height reached, than that of the untrained twin",
            (trained, untrained),
            Aggregate("median", ("near_share", "random@real-other")),
        ),
    ]
    return f"""## Evidence: plateaus

`dirscope --batch plateaus` and `plateaus-untrained`: {bases} bases of each kind, pushed in covariance-matched random \
directions at `{trained.recipe.site.write}`. Made-up bases all sit in one prompt, so their partner is the row of real activations
written into that prompt. Medians over curves with 95 % bootstrap intervals over bases; *td* is the typical distance \
between two real activations ({trained.info["typical_distance"]:.3g} trained, {untrained.info["typical_distance"]:.3g} untrained). *KL near* is KL at 0.2 td, *quadratic near* its Fisher
prediction there, *near share* KL near over KL at 1.5 td (a parabola has 0.018), *over quadratic* the threshold over where \
that prediction reaches 0.5 nats (below 1: a flat start and then a jump). *Leaves* is the share of curves whose L2 at the last
layer ever exceeds 1.1 x its initial line, *plateau* the median distance where those do. The untrained twin's logits are
so small that no push reaches 0.5 nats: only what has no scale can be compared with it.

| weights | base | curves | KL near | quadratic near | near share | threshold, td | over quadratic | leaves | plateau, td |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{chr(10).join(verdicts)}"""


def directions(run: Run) -> str:
    typical = run.info["typical_distance"]
    kinds = list(dict.fromkeys(s.kind for s in run.summaries))
    rows = "\n".join(
        f"| {k} | {_n(run, k):.0f} | {_median(run, 'threshold', k, typical)} | {_median(run, 'native_norm', k, typical)} | "
        f"{value_of(Aggregate('censored', (k,)), run.summaries):.0%} |"
        for k in kinds
    )
    verdicts = [
        _wins(
            run, "real-other", "random", "Towards another real activation is more sensitive than towards a random one"
        ),
        _wins(run, "real-mixture", "random-mixture", "A difference of real activations beats one of random targets"),
        _wins(run, "sae-feature", "random-mixture", "The strongest SAE features beat the random mixture"),
        _wins(run, "sae-feature", "real-mixture", "The strongest SAE features beat the real mixture"),
        _wins(run, "sae-error", "random-mixture", "The SAE's error beats the random mixture"),
        _wins(run, "random-mixture", "isotropic", "The random mixture beats the naive isotropic baseline"),
    ]
    bases = len({s.base for s in run.summaries})
    return f"""## Evidence: sensitive directions

`dirscope --batch sensitive-directions`: {bases} real bases, all directions at equal distance, typical distance \
{typical:.3g}. Thresholds are where KL reaches 0.5 nats. Compare within a family: *random* and *real-other* are targets
minus the base; the others are vectors in their own right.

| direction | curves | median threshold, td | native length, td | never reached |
|---|---|---|---|---|
{rows}

A win rate is the mean over bases of the chance that the first kind reaches 0.5 nats before the second.

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
            f"| `{run.recipe.site.write}` | {_median(run, 'threshold', 'real-other', typical)} | "
            f"{_median(run, 'threshold', 'random', typical)} | {value:.3f} ({low:.3f} to {high:.3f}) |"
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
    return f"**does not hold**, it goes {change}"


def steering(run: Run) -> str:
    rows = run.tables["rollouts"]
    pairs = "\n".join(f"| {one_line(r['unsteered'])} | {one_line(r['steered'])} |" for r in rows[:4])
    spec = run.recipe.data()["directions"][0]
    return f"""## Evidence: steering

`dirscope --batch steering`: "{spec["plus"]}" minus "{spec["minus"]}", {rows[0]["strength"]:g} x its own length \
({rows[0]["share_of_norm"]:.0%} of the base's norm), added at `{run.recipe.site.write}` to the last token of "{run.recipe.site.prompt}"
and every later one. Completions with one of *{", ".join(run.recipe.options.words)}*: unsteered \
{mean(run, "unsteered_hit", "rollouts")}, steered {mean(run, "steered_hit", "rollouts")} (n = {len(rows)}, 95 % intervals).

| unsteered | steered, the same random numbers |
|---|---|
{pairs}"""


def _n(run: Run, kind: str) -> float:
    return value_of(Aggregate("n", (kind,)), run.summaries)


def _number(value: float) -> str:
    if math.isinf(value):
        return "never"
    return "-" if math.isnan(value) else f"{value:.3g}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{_number(value)} ({_number(low)} to {_number(high)})" if not math.isnan(value) else "-"


def _median(run: Run, column: str, kind: str, unit: float = 1.0) -> str:
    aggregate = Aggregate("median", (column, kind))
    low, high = bootstrap_interval(aggregate, run.summaries)
    return _interval(value_of(aggregate, run.summaries) / unit, low / unit, high / unit)


def mean(run: Run, column: str, table: str) -> str:
    aggregate = Aggregate("mean", (column, f"table:{table}"))
    return _interval(value_of(aggregate, (), run.tables), *bootstrap_interval(aggregate, (), run.tables))


def _verdict(run: Run, claim: str, check: str) -> str:
    outcome = evaluate(parse_check(check), run.summaries)
    word = "holds" if outcome.holds else "does not hold"
    return f"- {claim}: **{word}** (`{check}`: {_number(outcome.left)} against {_number(outcome.right)})."


def _apart(claim: str, runs: tuple[Run, Run], aggregate: Aggregate) -> str:
    """A claim that the first run's value is below the second's, their intervals apart."""
    (first, (low, high)), (second, (other_low, other_high)) = (
        (value_of(aggregate, run.summaries), bootstrap_interval(aggregate, run.summaries)) for run in runs
    )
    word = "holds" if high < other_low else "does not hold"
    return f"- {claim}: **{word}** ({_interval(first, low, high)} against {_interval(second, other_low, other_high)})."


def _wins(run: Run, first: str, second: str, claim: str) -> str:
    rate = Aggregate("win_rate", (first, second))
    value, (low, high) = value_of(rate, run.summaries), bootstrap_interval(rate, run.summaries)
    word = "holds" if low > 0.5 else "the opposite holds" if high < 0.5 else "cannot be told"
    return f"- {claim}: **{word}** (win rate {value:.3f}, {low:.3f} to {high:.3f})."


def one_line(text: object) -> str:
    return " ".join(printable(str(text)).split()).replace("|", "\\|")
