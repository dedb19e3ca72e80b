"""The sections of the model's card about kinds of direction and SAE features, from their runs.

Knows runs and their statistics; runs nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from engine.aggregates import Aggregate, quantile, value_of
from engine.directions import DIRECTIONS
from scripts.evidence_sections import count, median, wins
from sessions.digest import CONTROLS, against_control
from sessions.reader import Run


def kinds(run: Run) -> str:
    """Every kind of direction, by family."""
    typical, against = run.info["typical_distance"], against_control(run.summaries)
    tables = []
    for family, control in CONTROLS.items():
        names = [k for k in dict.fromkeys(s.kind for s in run.summaries) if DIRECTIONS[k].family == family]
        names.sort(key=lambda k: value_of(Aggregate("median", ("threshold", k)), run.summaries))
        rows = []
        for kind in names:
            rate = against.get(kind)
            rows.append(
                f"| {kind} | {count(run, kind):.0f} | {median(run, 'threshold', kind, typical)} | "
                f"{value_of(Aggregate('censored', (kind,)), run.summaries):.0%} | "
                f"{f'{rate.rate:.2f} ({rate.low:.2f} to {rate.high:.2f})' if rate else '(control)'} |"
            )
        head = f"| {family} | curves | median threshold, td | never | sooner than {control} |\n|---|---|---|---|---|\n"
        tables.append(head + "\n".join(rows))
    verdicts = [
        wins(run, "real-other-off", "real-other-on", "Turning features off acts sooner than turning others on"),
        wins(
            run, "synthetic-structured", "synthetic-baseline", "Keeping cosines makes a bag of latents more sensitive"
        ),
        wins(run, "synthetic-structured", "random", "A structured synthetic target beats a random one"),
        wins(run, "sae-feature", "fake-feature", "Real features, up, beat parts of an arbitrary decomposition"),
        wins(run, "steering", "random-mixture", "A steering vector beats the random mixture"),
    ]
    bases = len({s.base for s in run.summaries})
    return f"""## Evidence: every kind of direction

`dirscope --batch kinds`: twenty kinds from {bases} real bases at `{run.recipe.site.write}`, at equal distance; td as above. Compare \
within a table.

{(chr(10) * 2).join(tables)}

{chr(10).join(verdicts)}"""


def features(ranking: Run, decomposed: Sequence[Run]) -> str:
    """All features by threshold, and how much pursuit explains beside the encoder."""
    rows = ranking.tables["ranking"]
    active = [row for row in rows if row["activation"]]
    seconds = (
        datetime.fromisoformat(ranking.record["ended"]) - datetime.fromisoformat(ranking.record["started"])
    ).total_seconds()
    nulls = ranking.tables["nulls"]

    def middle(some: Sequence[Mapping[str, Any]]) -> float:
        numbers = [np.inf if r["threshold"] is None else float(r["threshold"]) for r in some]
        return quantile(np.array(numbers), 0.5)

    lines = []
    for run in decomposed:
        last: dict[str, dict[str, float]] = {}
        for row in run.tables["parts"]:
            if row["encoder_explained"] is not None:  # as many as the encoder has
                last[str(row["base"])] = dict(row)
        shares = [
            np.mean([row[f"{name}_explained"] for row in last.values() if row[f"{name}_explained"] is not None])
            for name in ("encoder", "pursuit", "random")
        ]
        better = np.mean([row["pursuit_explained"] > row["encoder_explained"] for row in last.values()])
        lines.append(
            f"| `{run.recipe.site.write}` | {len(last)} | {shares[0]:.1%} | {shares[1]:.1%} | {better:.0%} | {shares[2]:.1%} |"
        )
    sooner = [r for r in rows if r["p"] <= 0.05]
    return f"""## Evidence: SAE features

`dirscope --batch rank-features`: all {len(rows)} features of the SAE at `{ranking.recipe.site.write}` along "{ranking.recipe.site.prompt}", \
{ranking.recipe.path.steps} steps each, and {len(nulls)} null directions, in {seconds:.0f} s ({ranking.info["threads"]} threads, loading included). Median \
threshold {middle(rows):.3g} ({middle(active):.3g} of the {len(active)} active ones) against {middle(nulls):.3g} of the null; {len(sooner) / len(rows):.1%} of the \
features have p of at most 0.05, where chance alone gives 5 %.

`dirscope --batch decompose`: real activations rebuilt from as many features as the encoder finds (32), by the encoder, by \
gradient pursuit with the same decoder, and by gradient pursuit with random vectors: share of |x - b_dec|² explained.

| hook | activations | encoder | pursuit | pursuit is better on | random dictionary |
|---|---|---|---|---|---|
{chr(10).join(lines)}"""
