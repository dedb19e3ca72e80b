"""Write `docs/experiments.md`, what every experiment gives on the bundled model: `python -m scripts.experiment_page`.

Runs the built-in recipes on evaluation stories, from which nothing else was taken, or takes the runs from --runs where
they are done. No measurement on the page is typed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from engine.aggregates import quantile
from engine.contrasts import Measured, mean_of
from scripts.model_card import finished_run
from scripts.telling import cell, group_of, measured, median, verdict
from sessions.crowd import Crowd
from sessions.digest import number
from sessions.reader import Run
from sessions.separation import contrast
from sessions.views.bands import band_of
from sessions.views.layers import outputs

PAGE: Final = Path(__file__).parents[1] / "docs" / "experiments.md"
STORIES: Final = "population.prompts=bundled-evaluation"
UNTRAINED: Final = (
    'model.weights="reinitialised"',
    'bases=[{kind="real-other",count=200},{kind="real-other",host="site",count=200},{kind="random",count=200}]',
    "expect=[]",
)
RUNS: Final[dict[str, tuple[str, ...]]] = {
    "base-kinds": ("base-kinds", STORIES),
    "base-kinds-sphere": ("base-kinds", STORIES, "path.mode=sphere"),
    "base-kinds-untrained": ("base-kinds", STORIES, *UNTRAINED),
    "sensitive": ("sensitive-directions", STORIES),
    "sensitive-sphere": ("sensitive-directions", STORIES, "path.mode=sphere"),
    "synthetic": ("synthetic", STORIES),
    "ladder": ("ladder", STORIES),
    "layers": ("layers", STORIES),
    "propagation": ("propagation", STORIES),
    "sae-error": ("sae-error", STORIES),
    "natural-variation": ("natural-variation", STORIES),
    "rank": ("rank-features", STORIES),
}
"""Name of each run: its built-in recipe and what is set otherwise."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Run the experiments and write their page.")
    parser.add_argument(
        "--runs", type=Path, help="folder of their runs, made or gone on with (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.runs or Path(temporary)
        runs = {name: finished_run(name, recipe, overrides, place) for name, (recipe, *overrides) in RUNS.items()}
        arguments.out.write_text(page(runs), encoding="utf-8")
    print(arguments.out)


def page(runs: dict[str, Run]) -> str:
    """All sections."""
    sections = [
        _head(runs["base-kinds"]),
        _claims(runs),
        _plateaus(runs["base-kinds"], runs["base-kinds-sphere"], runs["base-kinds-untrained"]),
        _sensitive(runs["sensitive"], runs["sensitive-sphere"]),
        _synthetic(runs["synthetic"], runs["ladder"]),
        _layers(runs["layers"]),
        _propagation(runs["propagation"]),
        _ranking(runs["rank"]),
        _sae_error(runs["sae-error"]),
        _prediction(runs["sensitive"]),
        _variation(runs["natural-variation"]),
    ]
    return "\n\n".join(sections) + "\n"


def _head(run: Run) -> str:
    info = run.info
    return f"""# What the experiments give on the bundled model

Made by `python -m scripts.experiment_page`; every recipe runs with `dirscope --batch NAME --set {STORIES}`, on stories that \
nothing else was taken from. Written at `{info["site"]["write"]}` before token {info["site"]["tokens"][-1]!r} of {run.recipe.site.prompt!r} or of
other stories; typical distance {info["typical_distance"]:.3g}. Medians, and in brackets 95 % bootstrap intervals over bases; *td* is the \
typical distance; AUC is the chance that a curve of the first kind is the more sensitive. This is one small model: what it shows
of the claims made about others is said, and nothing was tuned to show more."""


def _claims(runs: dict[str, Run]) -> str:
    bases, sphere = (Crowd(runs[n].info, runs[n].curves) for n in ("base-kinds", "base-kinds-sphere"))
    kinds, round_ = (Crowd(runs[n].info, runs[n].curves) for n in ("sensitive", "sensitive-sphere"))
    made = Crowd(runs["synthetic"].info, runs["synthetic"].curves)

    def sooner(crowd: Crowd, first: str, second: str, column: str = "threshold") -> Measured:
        return contrast(crowd, group_of(crowd, first), group_of(crowd, second)).auc[column]

    def wins(crowd: Crowd, first: str, second: str) -> Measured:
        found = contrast(crowd, group_of(crowd, first), group_of(crowd, second)).win
        assert found is not None
        return found

    def ratio(sae: str, control: str) -> Measured:
        row = next(
            r
            for r in runs["sae-error"].tables["ratios"]
            if (r["sae_id"], r["control"], r["replaced"]) == (sae, control, "everywhere")
        )
        return Measured(row["kl_ratio"], row["kl_low"], row["kl_high"])

    real = "random@real-other@site"
    layers = runs["layers"].tables["layers"]
    last = max(row["layer"] for row in layers)
    late = mean_of(np.array([row["win_rate"] for row in layers if row["layer"] == last]))
    cloud = runs["natural-variation"].tables["cloud"]
    lines = [
        verdict(
            "Random bases give way sooner than real activations in the same prompt (AUC; Heimersheim & Mendel 2024)",
            sooner(bases, "random@random", real),
            0.5,
        ),
        verdict("So they do at constant norm", sooner(sphere, "random@random", real), 0.5),
        verdict(
            "So do even structured bags of latents (AUC; LASR Labs 2024)",
            sooner(bases, "random@synthetic-structured", real),
            0.5,
        ),
        verdict(
            "What an SAE makes of a real activation gives way sooner than the activation itself (AUC)",
            sooner(bases, "random@sae-reconstruction@site", real),
            0.5,
        ),
        verdict(
            "Toward real activations acts before toward random ones (win rate)",
            wins(kinds, "real-other", "random"),
            0.5,
        ),
        verdict("So it does at constant norm", wins(round_, "real-other", "random"), 0.5),
        verdict(
            "Random mixtures act before isotropic directions (win rate)",
            wins(kinds, "random-mixture", "isotropic"),
            0.5,
        ),
        verdict(
            "SAE features, up, act before random mixtures (win rate)", wins(kinds, "sae-feature", "random-mixture"), 0.5
        ),
        verdict("So they do at constant norm", wins(round_, "sae-feature", "random-mixture"), 0.5),
        verdict(
            "Bags of latents act before random targets (AUC of max-slope steps; LASR Labs 2024)",
            sooner(made, "synthetic-baseline", "random", "max_slope_step"),
            0.5,
        ),
        verdict("Behind the last block real-other still acts before random (win rate)", late, 0.5),
        *(
            verdict(f"The error of `{sae}` hurts more than {name} (ratio of KL, everywhere)", ratio(sae, control), 1)
            for sae in ("blocks.1.hook_resid_pre", "blocks.5.hook_resid_pre")
            for control, name in (("isotropic", "isotropic changes"), ("mixture", "covariance-matched mixtures"))
        ),
        f"- Prompts that share the last token, and cut ones, lie inside the plateau: "
        f"{sum(bool(row['inside']) for row in cloud)} of {len(cloud)}.",
    ]
    return "\n".join(["## Claims", "", *lines])


BASES: Final = {
    "random@real-other": "real, in its own text",
    "random@real-other@site": "real, in the prompt",
    "random@sae-reconstruction@site": "SAE(real), in the prompt",
    "random@synthetic-structured": "structured bag of latents",
    "random@synthetic-baseline": "bag of latents",
    "random@random": "random",
}


def _plateaus(straight: Run, sphere: Run, untrained: Run) -> str:
    rows = []
    for name, run in (("straight", straight), ("sphere", sphere), ("straight, untrained", untrained)):
        crowd = Crowd(run.info, run.curves)
        unit = run.info["typical_distance"] if crowd.unit == "L2" else 1.0
        real = group_of(crowd, "random@real-other@site")
        for group in crowd.groups:
            leaves = np.isfinite(group.numbers("plateau_length").values).mean()
            apart = "-" if group is real else measured(contrast(crowd, group, real).auc["threshold"])
            rows.append(
                f"| {name} | {BASES[group.name]} | {len(group.curves)} | {median(group, 'threshold', unit)} | "
                f"{median(group, 'kl_near')} | {median(group, 'quadratic_ratio')} | {median(group, 'near_share')} | "
                f"{leaves:.0%} | {apart} |"
            )
    return f"""## Plateaus: kinds of base, the same random directions

`base-kinds`, `--set path.mode=sphere` and untrained. Threshold in td, on the sphere in degrees; *KL near* at 0.2 td; *over \
quadratic*: threshold over its Fisher prediction (1 is a parabola); *near share*: KL near over KL at the end; *leaves*: share of \
curves whose L2 at the last layer ever exceeds 1.1 x its initial line. AUC of the threshold: chance that the kind is more \
sensitive than real activations written into the same prompt.

| path | base | curves | threshold | KL near | over quadratic | near share | leaves | AUC against real |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}"""


def _sensitive(*runs: Run) -> str:
    rows = []
    for run in runs:
        crowd = Crowd(run.info, run.curves)
        unit = run.info["typical_distance"] if crowd.unit == "L2" else 1.0
        for group in crowd.groups:
            control = next(
                (g for g in crowd.groups if g.kind == {"toward": "random", "along": "random-mixture"}[group.family]),
                group,
            )
            if control is group:
                cells = ["control", "", "", "", "", ""]
            else:
                found = contrast(crowd, group, control)
                columns = ("threshold_0_1", "threshold", "threshold_1", "max_slope_step", "area")
                cells = [measured(found.win) if found.win else "-", *(measured(found.auc[c]) for c in columns)]
            rows.append(
                f"| {run.recipe.path.mode} | {group.kind} | {len(group.curves)} | {median(group, 'threshold', unit)} | "
                f"{np.mean([s.censored for s in group.summaries]):.0%} | {' | '.join(cells)} |"
            )
    return f"""## Sensitive directions

`sensitive-directions`, {len({s.base for s in runs[0].summaries})} real bases. Win rate against the family's control from the same \
base; AUC over all curves, by five numbers.

| path | direction | curves | threshold | never | win rate | AUC: KL 0.1 | KL 0.5 | KL 1 | max-slope step | area |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}"""


def _synthetic(run: Run, ladder: Run) -> str:
    def table(of: Run) -> str:
        crowd = Crowd(of.info, of.curves)
        real = group_of(crowd, "real-other")
        rows = []
        for group in crowd.groups:
            gaps = [
                f"{np.mean([c.detail[name] for c in group.curves]):.3f}" if name in group.curves[0].detail else ""
                for name in ("rate_gap_decades", "cosine_gap", "pairwise_gap", "cofiring_gap")
            ]
            found = None if group is real else contrast(crowd, group, real)
            apart = ["", "", ""] if found is None else [
                measured(found.ks["max_slope_step"]), measured(found.ks["threshold"]), measured(found.auc["threshold"])
            ]  # fmt: skip
            rows.append(
                f"| {group.kind} | {len(group.curves)} | {median(group, 'max_slope_step')} | "
                f"{median(group, 'threshold', of.info['typical_distance'])} | {' | '.join(apart)} | {' | '.join(gaps)} |"
            )
        return "\n".join(rows)

    columns = "| target | n | max-slope step | threshold, td | KS to real: max-slope | KS: threshold | AUC before real | rate gap | cosine gap | pairwise gap | co-firing gap |"
    return f"""## Synthetic activations

`synthetic`: {len({s.base for s in run.summaries})} real bases, 100 steps up to the typical distance. The claim for GPT-2 (LASR Labs \
2024): real targets soonest, random ones latest, bags of latents between, structured ones closer to real. Gaps say how well what is \
to be kept was kept (decades of firing rate; cosine to the strongest latent; all pairwise cosines, rms; share of co-firing).

{columns}
|---|---|---|---|---|---|---|---|---|---|---|
{table(run)}

`ladder`, one property more on each rung:

{columns}
|---|---|---|---|---|---|---|---|---|---|---|
{table(ladder)}"""


def _layers(run: Run) -> str:
    rows = []
    for hook in dict.fromkeys(str(row["hook"]) for row in run.tables["layers"]):
        mine = [row for row in run.tables["layers"] if row["hook"] == hook]
        rate = mean_of(np.array([row["win_rate"] for row in mine]))
        sides = []
        for side in ("first", "second"):
            values = np.array(
                [np.inf if row[f"{side}_threshold"] is None else row[f"{side}_threshold"] for row in mine]
            )
            sides.append(cell(quantile(values, 0.5)))
        rows.append(f"| `{hook}` | {len(mine)} | {measured(rate)} | {sides[0]} | {sides[1]} |")
    return f"""## Layer sweep

`layers`: win rate of real-other before random, written at every block; medians of each base's median threshold, td of that hook.

| write | bases | win rate | real-other | random |
|---|---|---|---|---|
{chr(10).join(rows)}"""


def _propagation(run: Run) -> str:
    crowd = Crowd(run.info, run.curves)
    typical = run.info["typical_distance"]
    rows = []
    for group in crowd.groups:
        for share in (0.2, 0.5, 1.0):
            cells = []
            for read in outputs(crowd):
                found = band_of(group, read, "size")
                cells.append(f"{np.interp(share * typical, found.coordinate[1:], found.median[1:]):.2f}")
            neurons = [read for read in crowd.reads if read.endswith("hook_post")]
            flips = np.mean(
                [
                    np.interp(share * typical, b.coordinate, b.median)
                    for r in neurons
                    for b in [band_of(group, r, "flips")]
                ]
            )
            norm, margin = (
                band_of(group, read, metric) for read, metric in ((crowd.reads[-1], "norm"), ("logits", "margin"))
            )
            cells += [f"{flips:.1%}"] + [
                f"{np.interp(share * typical, b.coordinate, b.median):.2f}" for b in (norm, margin)
            ]
            rows.append(f"| {group.kind} | {share:g} | {' | '.join(cells)} |")
    names = " | ".join(read.removeprefix("blocks.").removesuffix(".hook_resid_post") for read in outputs(crowd))
    start = band_of(crowd.groups[0], "logits", "margin").median[0]
    return f"""## Propagation and the simple stories

`propagation`, {len({s.base for s in run.summaries})} real bases: L2 at each block's output over the length of the push; share of neurons \
behind the write that flip; norm before the unembedding over the base's; margin of the base's top token, nats ({start:.2f} \
unperturbed).

| direction | at td | {names} | neurons flipped | norm | margin |
|---|---|{"---|" * len(outputs(crowd))}---|---|---|
{chr(10).join(rows)}"""


def _ranking(run: Run) -> str:
    rows = run.tables["ranking"]
    never = np.mean([row["threshold"] is None for row in rows])
    small = np.mean([row["p"] <= 0.05 for row in rows])
    first = sorted((row for row in rows if row["threshold"] is not None), key=lambda row: row["threshold"])[:5]
    top = ", ".join(f"#{row['feature']} at {row['threshold']:.2f} (p {row['p']:.3f})" for row in first)
    nulls = run.tables["nulls"]
    null = quantile(np.array([np.inf if row["threshold"] is None else row["threshold"] for row in nulls]), 0.5)
    return f"""## All features of the SAE, from one prompt

`rank-features`: {len(rows):,} features, {never:.0%} never reach 0.5 nats; {small:.1%} have p of at most 0.05 against {len(nulls)} \
random mixtures (median {number(null, 3)}), where chance gives 5 %. The most sensitive: {top}."""


def _sae_error(run: Run) -> str:
    rows = []
    for row in run.tables["ratios"]:
        ratio = cell(row["kl_ratio"], row["kl_low"] or np.nan, row["kl_high"] or np.nan)
        ce = (
            "-"
            if row["delta_ce_low"] is None
            else cell(row["delta_ce_ratio"], row["delta_ce_low"], row["delta_ce_high"])
        )
        rows.append(
            f"| `{row['sae_id']}` | {row['l0']:.0f} | {row['unexplained']:.1%} | {row['replaced']} | {row['control']} | "
            f"{row['n']} | {ratio} | {ce} |"
        )
    return f"""## SAE errors

`sae-error`: KL with SAE(x) in place of x over KL with another change of the same length, at one position of real texts \
(*substitution*) and at every position (*everywhere*); means over each other. For GPT-2 small 2.2 to 4.5 against isotropic were \
published (Gurnee 2024), and none left against mixtures (Lee & Heimersheim, arXiv 2410.12555).

| SAE | L0 | unexplained | replaced | control | n | ratio of KL | ratio of delta CE |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}"""


def _prediction(run: Run) -> str:
    rows = []
    for group in Crowd(run.info, run.curves).groups:
        pairs = [
            (np.sqrt(2 * run.info["level"] / s.fisher), s.threshold)
            for s in group.summaries
            if s.threshold is not None and s.fisher > 0
        ]
        predicted, measured = np.array(pairs).T
        ranks = [np.argsort(np.argsort(v)) for v in (predicted, measured)]
        rows.append(
            f"| {group.kind} | {len(pairs)} | {median(group, 'quadratic_ratio')} | "
            f"{np.mean(measured < predicted):.0%} | {np.corrcoef(*ranks)[0, 1]:.2f} |"
        )
    return f"""## First-order prediction

The same runs: threshold over where the quadratic form at the base reaches 0.5 nats; share of curves that jump sooner than it says; \
rank correlation of the two.

| direction | curves | measured over predicted | sooner than predicted | rank correlation |
|---|---|---|---|---|
{chr(10).join(rows)}"""


def _variation(run: Run) -> str:
    cloud = run.tables["cloud"]
    rows = "\n".join(
        f"| {row['sort']} | {str(row['text']).strip()} | {row['share_of_typical']:.2f} | {row['angle']:.1f} | "
        f"{row['cosine_centred']:.3f} | {row['kl']:.4f} | {'yes' if row['inside'] else 'no'} |"
        for row in cloud
    )
    inside = sum(bool(row["inside"]) for row in cloud)
    return f"""## Natural variation

`natural-variation`: prompts that share the last token with {run.recipe.site.prompt!r}, and that prompt cut to its last tokens; KL when \
their activation is written in place of its own. The plateau along random directions ends at \
{number(cloud[0]["plateau_ends"], 3)} ({cloud[0]["plateau_ends"] / run.info["typical_distance"]:.2f} td); {inside} of {len(cloud)} lie inside.

| | text | distance, td | angle | centred cosine | KL | inside |
|---|---|---|---|---|---|---|
{rows}"""


if __name__ == "__main__":
    main()
