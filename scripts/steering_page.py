"""Write `docs/steering.md`, what steering gives on the bundled model: `python -m scripts.steering_page`.

Makes the runs of `RUNS`, or takes them from --runs where they are done. No measurement is typed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader

from engine.contrasts import mean_of
from engine.directions.vector import unpacked
from engine.printable import printable
from engine.steering.interchange import read_vectors, write_vectors
from engine.steering.pareto import frontier
from scripts.evidence_sections import one_line
from scripts.model_card import finished_run
from scripts.telling import cell
from sessions.reader import Run
from sessions.saved_vectors import of_run
from sessions.steering_pictures import letter_of, pareto
from tui.plotting import draw

PAGE: Final = Path(__file__).parents[1] / "docs" / "steering.md"
PAIR: Final = 'plus="Tim felt sad", minus="Tim felt happy"'
SINGLES: Final = (1978, 3062, 2136)
"""The features whose activation differs most between the prompts, beside the recipe's own."""
RUNS: Final = {
    "steering": ("steering",),
    "features": (
        "steering",
        f'directions=[{{kind="steering-features", {PAIR}, positive=3}}, '
        f'{{kind="steering-features", {PAIR}, positive=3, negative=3}}, '
        f'{{kind="steering", {PAIR}, project_out=[2136, 1368]}}, '
        + ", ".join(f'{{kind="steering-features", {PAIR}, features=[{i}]}}' for i in SINGLES)
        + "]",
        "expect=[]",
        "options.strengths=[0.35,0.5,0.65]",
    ),
    "equal-kl": (
        "steering",
        f'directions=[{{kind="steering", {PAIR}}}, {{kind="steering-sae", {PAIR}}}, '
        f'{{kind="steering-features", {PAIR}, features=[2479]}}, {{kind="random-mixture", count=2}}]',
        "expect=[]",
        'options.unit="kl"',
        "options.strengths=[0.2,0.5,1.0]",
    ),
}
"""Name of each run: its built-in recipe and what is set otherwise."""
SHOWN: Final = 3
"""Completions of each vector."""
Rows = Sequence[Mapping[str, Any]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Steer the bundled model and write the page of it.")
    parser.add_argument("--runs", type=Path, help="folder of their runs, made or gone on with (default: temporary)")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.runs or Path(temporary)
        runs = {name: finished_run(name, recipe, overrides, place) for name, (recipe, *overrides) in RUNS.items()}
        parts = [
            _sweep(runs["steering"]),
            _texts(runs["steering"]),
            _features(runs["steering"], runs["features"]),
            _equal(runs["equal-kl"]),
            _files(runs["steering"], Path(temporary)),
        ]
        arguments.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(arguments.out)


def _percent(point: Mapping[str, Any]) -> str:
    return f"{point['success']:.0%} ({point['success_low']:.0%} to {point['success_high']:.0%})"


def _loss(point: Mapping[str, Any]) -> str:
    return f"{point['delta_ce']:+.2f} ({point['delta_low']:+.2f} to {point['delta_high']:+.2f})"


def _table(points: Rows) -> str:
    best = frontier(points)
    lines = [
        "| vector | added, share of the residual | success | loss added, nats a token | KL on text | KL after prompts | distinct-2 | repeated 4-grams | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for p in points:
        name = "no steering" if p["number"] is None else f"{letter_of(p['number'])} {printable(str(p['label']))}"
        mark = "frontier" if p in best else ""
        lines.append(
            f"| {name} | {p['added_norm']:.3g}, {p['share_of_norm']:.0%} | {_percent(p)} | {_loss(p)} | {p['kl']:.2f} | "
            f"{p['kl_prompts']:.2f} | {p['distinct_2']:.2f} | {p['repetition']:.3f} | {mark} |"
        )
    return "\n".join(lines)


def _sweep(run: Run) -> str:
    points, options = run.tables["points"], run.recipe.options
    picture = draw(pareto(points), 78, 22).plain
    apart = max(float(p["cache_difference"]) for p in points)
    return f"""# Steering the bundled model

`dirscope --batch steering`, or `E` and *steering* in the app: a vector is added at `{run.recipe.site.write}` to the last token of
"{run.recipe.site.prompt}" and to every later one. Success is a completion with one of *{", ".join(options.words)}*
({options.samples} completions of {options.tokens} tokens, temperature {options.temperature:g}; 95 % intervals by Wilson). Damage is measured on held-out
samples, teacher-forced, with the same vector at the same token indices: cross-entropy and KL of the {points[0]["counted"]} predictions behind
the first steered token of each of {options.texts} texts (95 % over texts). What is written with the key-value cache differs from one whole pass by at
most {apart:.1g} in the log-probability of any token drawn (float32).

![The steering lab: Pareto plot, the vector's numbers, completions with and without](steering.svg)

## Success against damage

The contrast "sad" minus "happy", the same as the SAE rebuilds it, and its best single feature, at the same lengths.

{_table(points)}

```
{picture}
```"""


def _texts(run: Run) -> str:
    rows = run.tables["rollouts"]
    middle = sorted(run.recipe.options.strengths)[len(run.recipe.options.strengths) // 2]
    lines = ["| without | " + " | ".join(letter_of(i) for i in range(3)) + " |", "|---|---|---|---|"]
    for sample in range(SHOWN):
        mine = [r for r in rows if r["sample"] == sample and r["strength"] == middle]
        lines.append(f"| {one_line(mine[0]['unsteered'])} | " + " | ".join(one_line(r["steered"]) for r in mine) + " |")
    share = next(r["share_of_norm"] for r in rows if r["strength"] == middle)
    return f"""## Before and after

The first {SHOWN} completions at {share:.0%} of the residual's length; all of a row draw the same random numbers.

{chr(10).join(lines)}"""


def _features(whole: Run, run: Run) -> str:
    same = [p for p in whole.tables["points"] if p["number"] is None or p["strength"] in run.recipe.options.strengths]
    return f"""## Which features

The largest features of the contrast alone, a few of them together, with those that only the negative prompt has, and the whole contrast with the two
largest of these projected out; beside the vectors above at the same lengths.

{_table(run.tables["points"])}

What a single feature gives says little about its size in the contrast: {_alone(run, same)}."""


def _alone(run: Run, same: Rows) -> str:
    last = max(run.recipe.options.strengths)
    singles = [p for p in run.tables["points"] if p["number"] in (3, 4, 5) and p["strength"] == last]
    singles += [p for p in same if p["number"] == 2 and p["strength"] == last]
    told = (f"{printable(str(p['label'])).partition(' of ')[0]} {p['success']:.0%}" for p in singles)
    return f"at {last:.0%} of the length success is " + ", ".join(told)


def _equal(run: Run) -> str:
    points, rows = run.tables["points"], run.tables["rollouts"]
    lines = ["| KL budget, nats | " + " | ".join(_names(run)) + " |", "|---|" + "---|" * len(_names(run))]
    for budget in run.recipe.options.strengths:
        mine = [p for p in points if p["number"] is not None and p["strength"] == budget]
        lines.append(
            f"| {budget:g} | "
            + " | ".join(f"{_percent(p)}, {p['share_of_norm']:.0%} of the length" for p in mine)
            + " |"
        )

    def against(first: int, second: int, budget: float) -> str:
        hits = [
            np.array([float(r["steered_hit"]) for r in rows if r["number"] == i and r["strength"] == budget])
            for i in (first, second)
        ]
        found = mean_of(hits[0] - hits[1])
        return cell(found.value, found.low, found.high)

    budgets = run.recipe.options.strengths
    sae = "; ".join(f"{b:g}: {against(1, 0, b)}" for b in budgets)
    feature = "; ".join(f"{b:g}: {against(2, 0, b)}" for b in budgets)
    return f"""## At equal KL

`unit = "kl"` solves for the strength at which the held-out text changes by as much, so that what is compared has done the same damage. Random mixtures are
differences of two made-up activations with the population's mean and covariance.

{chr(10).join(lines)}

Success of the SAE's reconstruction minus the contrast's, by budget, 95 % over pairs of completions: {sae}. Of the single feature minus the
contrast's: {feature}. An interval that holds 0 tells nothing either way."""


def _names(run: Run) -> list[str]:
    rows = run.tables["vectors"]
    return [f"{letter_of(r['number'])} {printable(str(r['label']))}" for r in rows]


def _files(run: Run, folder: Path) -> str:
    file = folder / "sad.gguf"
    write_vectors(file, of_run(run, 0))
    theirs, back = GGUFReader(file), read_vectors(file)
    assert back is not None
    (tensor,) = theirs.tensors
    row = run.tables["vectors"][0]
    same = np.array_equal(np.array(tensor.data), unpacked(str(row["vector"])))
    ((hook, rows),) = back.rows.items()
    said = {name: f.contents() for name, f in theirs.fields.items() if not name.startswith("GGUF.")}
    fields = "\n".join(f"| `{name}` | `{value}` |" for name, value in said.items())
    return f"""## To llama.cpp and back

The contrast as a GGUF control vector (`dirscope vectors export sad --out sad.gguf`), read by the `gguf` package:

| field | value |
|---|---|
{fields}
| tensor | `{tensor.name}`, {tensor.tensor_type.name}, shape {[int(n) for n in tensor.shape]}, bit for bit the vector of the run: {"yes" if same else "NO"} |

llama.cpp and repeng add `direction.k` to the output of block k, counted from 0: what enters `{row["hook"]}` is `{tensor.name}`. Read
back, it is `{hook}`, another name of the same place; the largest difference is {float(np.abs(rows[0] - unpacked(str(row["vector"]))).max()):g}."""


if __name__ == "__main__":
    main()
