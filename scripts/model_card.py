"""Write the card of the bundled model: `python scripts/model_card.py [--runs DIR] [--out FILE]`.

Runs the built-in evidence recipes on the bundled model, or takes them from --runs where they are done, and writes
`engine/embedded/README.md` from them, the training log and the SAEs' cards. No number in the card is typed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.embedded import HERE, MODEL_DIR, SAES_DIR, TRAINING_LOG
from engine.expect import Aggregate, bootstrap_interval, evaluate, parse_check, select, value_of
from sessions.printable import printable
from sessions.reader import Run, read_run

RUNS: dict[str, tuple[str, ...]] = {
    "plateaus": ("plateaus",),
    "plateaus-untrained": ("plateaus-untrained",),
    "sensitive-directions": ("sensitive-directions",),
    "late-layer": ("late-layer",),
    "sae-fidelity": ("sae-fidelity",),
    "sae-fidelity-middle": ("sae-fidelity", "site.write=blocks.3.hook_resid_pre"),
    "sae-fidelity-late": ("sae-fidelity", "site.write=blocks.5.hook_resid_pre"),
    "steering": ("steering",),
    "stories": (
        "steering",
        "options.strengths=[0.0]",
        "options.samples=3",
        "options.tokens=150",
        'site.prompt="Once upon a time"',
        "expect=[]",
    ),
}
"""Name of each run: its built-in recipe and what is set otherwise."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Run the evidence recipes and write the model's card.")
    parser.add_argument(
        "--runs", type=Path, help="folder of their runs, made or gone on with (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=HERE / "README.md")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.runs or Path(temporary)
        runs = {name: _run(name, recipe, overrides, place) for name, (recipe, *overrides) in RUNS.items()}
        arguments.out.write_text(_card(runs), encoding="utf-8")
    print(arguments.out)


def _run(name: str, recipe: str, overrides: Sequence[str], place: Path) -> Run:
    """A run of a recipe, done before or now; an expectation that does not hold is a result like any other."""
    folder = place / name
    words = [word for override in overrides for word in ("--set", override)]
    what = [str(folder), "--resume"] if folder.exists() else [recipe, *words]
    command = [sys.executable, "-m", "tui", "--batch", *what, "--out", str(folder)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    run = read_run(folder) if code in (0, 1) else None
    if run is None or run.status != "done":
        raise SystemExit(f"{' '.join(command)} ended with exit code {code} and is not done")
    weights = hashlib.sha256((MODEL_DIR / "model.safetensors").read_bytes()).hexdigest()
    if run.recipe.model.weights == "trained" and run.info["model"]["weights_sha256"] != weights:
        raise SystemExit(f"{folder} is a run of other weights than the bundled ones: remove it")
    return run


def _card(runs: dict[str, Run]) -> str:
    parts = [
        _head(),
        _training(),
        _stories(runs["stories"]),
        _saes(runs),
        _plateaus(runs["plateaus"], runs["plateaus-untrained"]),
        _directions(runs["sensitive-directions"]),
        _late(runs["sensitive-directions"], runs["late-layer"]),
        _steering(runs["steering"]),
        _again(),
    ]
    return "\n\n".join(parts) + "\n"


def _log(event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in TRAINING_LOG.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["event"] == event]


def _head() -> str:
    config = json.loads((MODEL_DIR / "config.json").read_text(encoding="utf-8"))
    done, total = (
        _log("model")[-1],
        sum(f.stat().st_size for f in HERE.rglob("*") if f.suffix not in (".py", ".pyc", ".md")),
    )
    return f"""# The bundled model

A story model small enough to come with the package, made so that plateaus and directions can be explored without a
GPU, a download or an account. GPT-2 architecture: {config["n_layer"]} layers, d_model {config["n_embd"]}, \
{config["n_head"]} heads, context {config["n_positions"]}, byte-level BPE of {config["vocab_size"]} tokens,
{done["parameters"] / 1e6:.2f} million parameters, stored in bfloat16. With tokenizer, SAEs, feature evidence and \
samples: {total / 1e6:.1f} MB.

**Data.** TinyStories (Eldan & Li 2023, arXiv 2305.07759), deduplicated excerpts, CDLA-Sharing-1.0; and children's books
in the public domain. No file of that text is in this repository: the samples, and every snippet shown beside a feature,
were drawn from the model (how much of that it knows by heart is said below). Weights, tokenizer, SAEs and samples: MIT, like the code.

**Use.** Looking at activations. It knows simple stories and nothing else, repeats itself, and says untrue things."""


def _training() -> str:
    settings, data, done = _log("settings")[-1], _log("data")[0], _log("model")[-1]
    steps = {line["step"]: line for line in _log("train")}  # a resumed run repeats some
    rows = "\n".join(
        f"| {s['step'] * settings['batch'] * settings['context'] / 1e6:.1f} | {s['loss']:.3f} | {s['seen_loss']:.3f} | "
        f"{s['held_out_loss']:.3f} |"
        for s in steps.values()
        if "held_out_loss" in s
    )
    stories, books = data["train_tokens"].values()
    speed = float(np.median([s["tokens_per_second"] for s in steps.values()]))
    return f"""## Training

{settings["tokens"] / 1e6:.0f} million tokens at about {speed:,.0f} a second on {"two CPU cores" if "cpu" in settings["torch"] else "a GPU"}, cosine \
schedule, Muon for the matrices and AdamW for the rest, bfloat16 autocast, dropout {settings["dropout"]:g} for the last \
{1 - settings["dropout_from"]:.0%} of the steps. Settings and the whole log: `training.jsonl`. There are {stories / 1e6:.2f} million tokens of
stories and {books / 1e6:.2f} million of books, so that text repeats; 2 % of the stories were never trained on.

**Held-out loss: {done["held_out_loss"]:.3f} nats per token, {done["held_out_loss_per_byte"]:.4f} nats per byte** (the stored \
weights; {done["held_out_tokens"]:,} tokens of held-out stories in rows of {settings["context"]}, every one
from a random place in a story). *Seen* is the loss on stories that were trained on: the gap is what it knows by heart.
When dropout starts was chosen by looking at the held-out loss, so that loss is not wholly untouched.

| tokens, millions | loss of the mix | seen stories | held-out stories |
|---|---|---|---|
{rows}"""


def _stories(run: Run) -> str:
    prompt, samples = run.recipe.site.prompt, _log("samples")[-1]
    texts = [" ".join(printable(str(row["unsteered"])).split()) for row in run.tables["rollouts"]]
    told = "\n\n".join(f"> **{prompt}**{'' if text.startswith((',', '.')) else ' '}{text}" for text in texts)
    return (
        f"## Stories it tells\n\nTemperature 0.7, the first three it drew.\n\n{told}\n\nOf the bundled samples' windows of \
{samples['verbatim_tokens']} tokens, {samples['verbatim_share']:.2%} occur word for word in the training text."
    )


def _saes(runs: dict[str, Run]) -> str:
    cards = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(SAES_DIR.glob("*/card.json"))]
    rows = "\n".join(
        f"| `{c['sae_id']}` | {c['width']} | {c['l0']:g} | {c['alive_share']:.1%} | {c['unexplained_variance']:.1%} | "
        f"{c['ce_clean']:.3f} | {c['ce_spliced']:.3f} | {c['ce_zero']:.2f} | {c['ce_mean']:.2f} | **{c['delta_ce']:.3f}** | "
        f"{c['kl']:.3f} | {c['firing_rate_quantiles']['0.5']:.2%} ({c['firing_rate_quantiles']['0.05']:.2%} to "
        f"{c['firing_rate_quantiles']['0.95']:.2%}) |"
        for c in cards
    )
    own = "\n".join(
        f"| `{run.recipe.site.write}` | {len(run.tables['splice'])} | {_mean(run, 'delta_ce', 'splice')} | "
        f"{_mean(run, 'kl', 'splice')} |"
        for run in (runs["sae-fidelity"], runs["sae-fidelity-middle"], runs["sae-fidelity-late"])
    )
    first = cards[0]
    return f"""## Sparse autoencoders

TopK, trained with sae-lens on centred residuals of training text. Losses in nats per token on {first["held_out_tokens"]:,} \
tokens of held-out stories, the reconstruction written at every token but BOS; zero and mean ablation give the scale.
Alive: fires at least once on {first["alive_on_tokens"]:,} tokens drawn from the model. Firing rate: median (5 to 95 %) \
of the features alive. Beside each SAE lie its card and, for every feature, its firing rate, the output tokens it raises
and lowers most, and the snippets where it fires most.

| SAE | width | L0 | alive | variance unexplained | CE clean | spliced | zero | mean | delta CE | KL | firing rate |
|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

The same on samples of the model, which needs no corpus (`dirscope --batch sae-fidelity`), with 95 % bootstrap intervals
over texts:

| hook | texts | delta CE | KL |
|---|---|---|---|
{own}"""


BASES = {
    "random@real-other": "real, in its own text",
    "random@real-other@site": "real, in the prompt",
    "random@random": "made up, in the prompt",
}


def _plateaus(trained: Run, untrained: Run) -> str:
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


def _directions(run: Run) -> str:
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


def _late(early: Run, late: Run) -> str:
    rate = Aggregate("win_rate", ("real-other", "random"))
    rows, gaps = [], []
    for run in (early, late):
        typical, value = run.info["typical_distance"], value_of(rate, run.summaries)
        low, high = bootstrap_interval(rate, run.summaries)
        gaps.append((value - 0.5, low - 0.5, high - 0.5))
        rows.append(
            f"| `{run.recipe.site.write}` | {_median(run, 'threshold', 'real-other', typical)} | "
            f"{_median(run, 'threshold', 'random', typical)} | {value:.3f} ({low:.3f} to {high:.3f}) |"
        )
    (first, first_low, first_high), (last, last_low, last_high) = gaps
    change = f"from {first:+.3f} to {last:+.3f}"
    if first_low <= 0 <= first_high:
        verdict = f"there is no gap at the early layer that could go ({change})"
    elif first_high < 0:
        verdict = f"the gap at the early layer is the other way round ({change})"
    elif last_low <= 0 <= last_high:
        verdict = f"holds: the gap goes {change}, which cannot be told from none"
    elif max(-last_low, last_high) < first_low:
        verdict = f"partly: the gap shrinks {change}, but is still there"
    else:
        verdict = f"does not hold: the gap goes {change}"
    return f"""## Evidence: late-layer control

`dirscope --batch late-layer`: the same written before the last block. Where the gap comes from later computation, it
should vanish there.

| write | threshold real-other, td | threshold random, td | win rate real-other before random |
|---|---|---|---|
{chr(10).join(rows)}

- The gap between real-other and random vanishes at the last layer: **{verdict}**."""


def _steering(run: Run) -> str:
    rows = run.tables["rollouts"]
    pairs = "\n".join(f"| {_one_line(r['unsteered'])} | {_one_line(r['steered'])} |" for r in rows[:4])
    spec = run.recipe.data()["directions"][0]
    return f"""## Evidence: steering

`dirscope --batch steering`: "{spec["plus"]}" minus "{spec["minus"]}", {rows[0]["strength"]:g} x its own length \
({rows[0]["share_of_norm"]:.0%} of the base's norm), added at `{run.recipe.site.write}` to the last token of "{run.recipe.site.prompt}"
and every later one. Completions with one of *{", ".join(run.recipe.options.words)}*: unsteered \
{_mean(run, "unsteered_hit", "rollouts")}, steered {_mean(run, "steered_hit", "rollouts")} (n = {len(rows)}, 95 % intervals).

| unsteered | steered, the same random numbers |
|---|---|
{pairs}"""


def _again() -> str:
    return """## Making it again

`python -m engine.embedded.train --corpus DIR` makes everything but this file (it goes on where it stopped);
`python scripts/model_card.py` runs the evidence recipes and writes this file."""


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


def _mean(run: Run, column: str, table: str) -> str:
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


def _one_line(text: object) -> str:
    return " ".join(printable(str(text)).split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
