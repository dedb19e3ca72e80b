"""Write the card of the bundled model: `python -m scripts.model_card [--runs DIR] [--out FILE]`.

Runs the built-in evidence recipes on the bundled model, or takes them from --runs where they are done, and writes
`engine/embedded/README.md` from them, the training log and the SAEs' cards. No measurement in the card is typed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.embedded import HERE, MODEL_DIR, SAES_DIR, TRAINING_LOG
from engine.embedded.corpus import HELD_OUT_SHARE
from engine.printable import printable
from scripts.evidence_sections import directions, late, mean, plateaus, steering
from scripts.feature_sections import features, kinds
from sessions.reader import Run, read_run

SMALL_LOSS = "ci_high(mean(delta_ce, 'table:splice')) < %g"

RUNS: dict[str, tuple[str, ...]] = {
    "plateaus": ("plateaus",),
    "plateaus-untrained": ("plateaus-untrained",),
    "sensitive-directions": ("sensitive-directions",),
    "sensitive-directions-down": ("sensitive-directions", 'directions.4.sign="-"'),
    "kinds": ("kinds",),
    "decompose": ("decompose",),
    "decompose-middle": ("decompose", "site.write=blocks.3.hook_resid_pre"),
    "decompose-late": ("decompose", "site.write=blocks.5.hook_resid_pre"),
    "rank-features": ("rank-features",),
    "late-layer": ("late-layer",),
    "late-layer-after": ("late-layer", "site.write=blocks.5.hook_resid_post"),
    "sae-fidelity": ("sae-fidelity", "expect.0.check=" + SMALL_LOSS % 0.03),
    "sae-fidelity-middle": (
        "sae-fidelity",
        "site.write=blocks.3.hook_resid_pre",
        "expect.0.check=" + SMALL_LOSS % 0.06,
    ),
    "sae-fidelity-late": ("sae-fidelity", "site.write=blocks.5.hook_resid_pre", "expect.0.check=" + SMALL_LOSS % 0.15),
    "steering": ("steering",),
    "steering-control": (
        "steering",
        'directions=[{kind="random-mixture", count=5}]',
        "options.strengths=[0.5]",
        "options.samples=20",
        "expect=[]",
    ),
    "stories": (
        "steering",
        'directions=[{kind="isotropic", count=1}]',
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
        runs = {name: finished_run(name, recipe, overrides, place) for name, (recipe, *overrides) in RUNS.items()}
        arguments.out.write_text(_card(runs), encoding="utf-8")
    print(arguments.out)


def finished_run(name: str, recipe: str, overrides: Sequence[str], place: Path) -> Run:
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
        plateaus(runs["plateaus"], runs["plateaus-untrained"]),
        directions(runs["sensitive-directions"], runs["sensitive-directions-down"]),
        kinds(runs["kinds"]),
        features(runs["rank-features"], [runs[f"decompose{part}"] for part in ("", "-middle", "-late")]),
        late(runs["sensitive-directions"], runs["late-layer"], runs["late-layer-after"]),
        steering(runs["steering"], runs["steering-control"]),
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
were drawn from the model (how much of the samples it knows by heart is said below). Weights, tokenizer, SAEs and samples: MIT, like the code.

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
    speeds = [s["tokens_per_second"] for s in steps.values() if s["step"] % 1000 == 0]
    speed = f"{min(speeds):,} to {max(speeds):,} a second"
    resumed = [f"{line['step']:,}" for line in _log("resumed")]
    again = f" It began anew where the run was resumed (step {', '.join(resumed)})." if resumed else ""
    return f"""## Training

{settings["tokens"] / 1e6:.0f} million tokens at {speed}, cosine \
schedule, Muon for the matrices and AdamW for the rest, bfloat16 autocast, dropout {settings["dropout"]:g} for the last \
{1 - settings["dropout_from"]:.0%} of the steps. Settings and the whole log: `training.jsonl`. There are {stories / 1e6:.2f} million tokens of
stories and {books / 1e6:.2f} million of books, so that text repeats; {HELD_OUT_SHARE:.0%} of the stories were never trained on.

**Held-out loss: {done["held_out_loss"]:.3f} nats per token, {done["held_out_loss_per_byte"]:.4f} nats per byte** (the stored \
weights; {done["held_out_tokens"]:,} tokens of held-out stories, joined end to end and cut into rows
of {settings["context"]}). On as many stories that were trained on it is {done["seen_loss"]:.3f} (*seen* below): the gap is what it knows by heart.
The loss of the mix is a running mean over steps, with dropout where there is dropout.{again} The other two are without dropout.
When dropout starts was chosen by looking at the held-out loss, so that loss is not wholly untouched.

| tokens, millions | loss of the mix | seen stories | held-out stories |
|---|---|---|---|
{rows}"""


def _stories(run: Run) -> str:
    prompt, samples = run.recipe.site.prompt, _log("samples")[-1]
    texts = [" ".join(printable(str(row["unsteered"])).split()) for row in run.tables["rollouts"]]
    told = "\n\n".join(f"> **{prompt}**{'' if text.startswith((',', '.')) else ' '}{text}" for text in texts)
    return f"## Stories it tells\n\nTemperature {run.recipe.options.temperature:g}, the first {len(texts)} it drew.\n\n{told}\n\nOf the bundled samples' windows of \
{samples['verbatim_tokens']} tokens, {samples['verbatim_share']:.2%} occur word for word in the training text."


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
        f"| `{run.recipe.site.write}` | {len(run.tables['splice'])} | {mean(run, 'delta_ce', 'splice')} | "
        f"{mean(run, 'kl', 'splice')} |"
        for run in (runs["sae-fidelity"], runs["sae-fidelity-middle"], runs["sae-fidelity-late"])
    )
    first = cards[0]
    return f"""## Sparse autoencoders

TopK, trained with sae-lens on centred residuals of training text. Losses in nats per token on {first["held_out_tokens"]:,} \
tokens of held-out stories, the reconstruction written at every token but BOS, whose prediction does not count; zero and mean ablation give the scale.
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


def _again() -> str:
    return """## Making it again

`python -m engine.embedded.train --corpus DIR` makes everything but this file (it goes on where it stopped);
`python -m scripts.model_card` runs the evidence recipes and writes this file."""


if __name__ == "__main__":
    main()
