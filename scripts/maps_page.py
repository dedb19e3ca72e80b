"""Write `docs/maps.md`, what maps, mixtures and blind tests give on the bundled model: `python -m scripts.maps_page`.

Makes the runs of `scripts.map_runs`, or takes them from --runs where they are done. No measurement is typed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.contrasts import Measured, mean_of, median_of
from engine.results import RowResult, RunStarted
from scripts.map_runs import PROMPTS, RUNS, STORIES
from scripts.model_card import finished_run
from scripts.telling import measured, verdict
from sessions.blind import Verdict, answer, verdict_of
from sessions.chart import Drawable
from sessions.maps import MAPS
from sessions.mechanism_pictures import ascent, items, profiles
from sessions.mixture_pictures import combined, pairs, slices
from sessions.reader import Run
from tui.plotting import draw

PAGE: Final = Path(__file__).parents[1] / "docs" / "maps.md"
WIDTH: Final = 78
HEIGHT: Final = 24
Rows = Sequence[Mapping[str, Any]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the maps and write their page.")
    parser.add_argument("--runs", type=Path, help="folder of their runs, made or gone on with (default: temporary)")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.runs or Path(temporary)
        runs = {name: finished_run(name, recipe, overrides, place) for name, (recipe, *overrides) in RUNS.items()}
        asked = []
        for number, prompt in enumerate(PROMPTS):
            settings = (STORIES, f"site.prompt={json.dumps(prompt)}")
            asked.append(finished_run(f"blind-{number}", "blind-test", settings, place))
        # Nobody looked at these: what counts here is what rules of one number would have had.
        tests = [verdict_of(run.folder) or answer(run.folder, []) for run in asked]
        arguments.out.write_text(page(runs, tests, asked[0]), encoding="utf-8")
    print(arguments.out)


def page(runs: Mapping[str, Run], tests: Sequence[Verdict], first: Run) -> str:
    """All sections."""
    sections = [
        _head(runs["triangle"]),
        _triangle(runs["triangle"]),
        _plane(runs["plane"], runs["planes"], runs["planes-random"]),
        _optimum(runs["local-optimum"]),
        _mixtures(runs["mixtures"], runs["combine-features"]),
        _interaction(runs["interaction"]),
        _search(runs["search"]),
        _mechanism(runs["mechanism"]),
        _blind(tests, first),
        _times(runs),
    ]
    return "\n\n".join(sections) + "\n"


def _head(run: Run) -> str:
    site = run.info["site"]
    return f"""# Maps, mixtures and blind tests on the bundled model

Made by `python -m scripts.maps_page`, which says what is set beside the built-in recipes; stories that nothing else was taken from.
Written at `{site["write"]}`, angles on the sphere of the base's length unless said otherwise; in brackets 95 % bootstrap intervals over
bases, each a real activation in its own text. One small model: what it shows of claims made about others is said, and nothing
was tuned to show more."""


def _frame(chart: Drawable, title: str) -> str:
    text = "\n".join(line.rstrip() for line in draw(chart, WIDTH, HEIGHT).plain.splitlines())
    return f"{title}\n\n```\n{text}\n```"


def _by_base(rows: Rows, value: Callable[[Rows], float]) -> Measured:
    """Mean over bases of a number of each base's rows."""
    bases = list(dict.fromkeys(row["sample"] for row in rows))
    return mean_of(np.array([value([row for row in rows if row["sample"] == base]) for base in bases]))


def _mean(column: str) -> Callable[[Rows], float]:
    def value(rows: Rows) -> float:
        known = [float(row[column]) for row in rows if row[column] is not None]
        return float(np.mean(known)) if known else np.nan

    return value


def _difference(first: Rows, second: Rows, column: str) -> Measured:
    """Mean over bases of the first rows' mean minus the second's, on the same base."""
    bases = list(dict.fromkeys(row["sample"] for row in first))
    mean = _mean(column)
    values = [
        mean([r for r in first if r["sample"] == base]) - mean([r for r in second if r["sample"] == base])
        for base in bases
    ]
    return mean_of(np.array(values))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _where(rows: Rows, **columns: Any) -> list[Mapping[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in columns.items())]


def _triangle(run: Run) -> str:
    rows, kind = run.tables["minima"], MAPS["triangle"]
    sorts = {"a real activation": "real-other random random", "a random target": "random random random"}
    table = []
    for name, sort in sorts.items():
        mine = _where(rows, sort=sort)
        weight = _by_base(mine, lambda r: float(np.mean([row["i"] / (row["i"] + row["j"] + row["k"]) for row in r])))
        cells = [
            measured(_by_base(mine, _mean(c)))
            for c in ("first_is_lowest", "first_is_lowest_corner", "first_is_local", "corner_0", "lowest")
        ]
        table.append([name, str(len(mine)), *cells, measured(weight)])
    real, plain = (_where(rows, sort=sort) for sort in sorts.values())
    header = [
        "first corner",
        "triangles",
        "it is the minimum",
        "the lowest corner",
        "lower than its neighbours",
        "threshold there, degrees",
        "at the minimum",
        "its weight at the minimum",
    ]
    map_rows = run.tables["triangle"]
    frames = [
        _frame(kind.surface(kind.of(map_rows, group), kind.shades[0]), title)
        for group, title in ((0, "Real activation at the top, first base:"), (1, "Three random targets, same base:"))
    ]
    return "\n\n".join(
        [
            "## Triangle: is the direction of a real activation a local optimum of sensitivity?",
            "\n".join(
                [
                    verdict(
                        "A real corner is the lowest of the three more often than by chance",
                        _by_base(real, _mean("first_is_lowest_corner")),
                        1 / 3,
                    ),
                    verdict(
                        "A real corner is the minimum of its whole triangle more often than a random one",
                        _difference(real, plain, "first_is_lowest"),
                        0.0,
                    ),
                    verdict("It is so in most triangles", _by_base(real, _mean("first_is_lowest")), 0.5),
                    verdict(
                        "A real corner lies lower than its neighbours more often than a random one",
                        _difference(real, plain, "first_is_local"),
                        0.0,
                    ),
                ]
            ),
            _table(header, table),
            "Its weight at the minimum tells how near to the corner the minimum lies: 1 at the corner itself.",
            *frames,
        ]
    )


def _plane(run: Run, real: Run, random: Run) -> str:
    kind = MAPS["plane"]
    rows = run.tables["plane"]
    table = []
    for name, of in (("real", real), ("random", random)):
        anchors = of.tables["anchors"]
        others = [row for row in anchors if row["anchor"] != "A"]
        cells = [
            measured(_by_base(part, _mean(column)))
            for part in (_where(anchors, anchor="A"), others)
            for column in ("flat_share", "own_share")
        ]
        table.append([name, str(len({row["base"] for row in anchors})), *cells])
    others = [[row for row in of.tables["anchors"] if row["anchor"] != "A"] for of in (real, random)]
    return "\n\n".join(
        [
            "## Plane: regions around real activations",
            "B and C are other real activations, or covariance-matched ones. Of the places between the anchors that "
            "lie nearest to "
            "one: the share whose output is within 0.5 nats of its own (flat), and nearest to its own of the three.",
            verdict(
                "Around real anchors other than the base more is flat than around random ones, in the base's context",
                _difference(others[0], others[1], "flat_share"),
                0.0,
            ),
            _table(["B and C", "bases", "flat around A", "A's own", "flat around B, C", "their own"], table),
            _frame(
                kind.surface(kind.of(rows, 0), kind.shades[0]),
                "`plane`: the prompt (A) and two others, by the nearest output:",
            ),
            _frame(kind.surface(kind.of(rows, 0), kind.shades[1]), "The same by KL from A:"),
        ]
    )


def _optimum(run: Run) -> str:
    rows = run.tables["optima"]
    kinds, others = (list(dict.fromkeys(row[c] for row in rows)) for c in ("kind", "other"))
    table = [
        [
            kind,
            other,
            *(
                measured(_by_base(_where(rows, kind=kind, other=other), _mean(c)))
                for c in ("both_worse", "best_over_centre")
            ),
        ]
        for kind in kinds
        for other in others
    ]

    def against(kind: str, control: str, other: str) -> Measured:
        return _difference(_where(rows, kind=kind, other=other), _where(rows, kind=control, other=other), "both_worse")

    return "\n\n".join(
        [
            "## Local optima: 0.99 of a direction and some of another",
            "\n".join(
                [
                    verdict(
                        "An SAE feature is the optimum of more isotropic slices than a random mixture is",
                        against("sae-feature", "random-mixture", "isotropic"),
                        0.0,
                    ),
                    verdict(
                        "The direction of a real activation is the optimum of more isotropic slices than a random "
                        "target's",
                        against("real-other", "random", "isotropic"),
                        0.0,
                    ),
                    verdict(
                        "It is so within the span of the base's features",
                        against("real-other", "random", "feature-span"),
                        0.0,
                    ),
                    verdict(
                        "A real activation's direction is the optimum of fewer slices within the span of features "
                        "than of isotropic ones",
                        _difference(
                            _where(rows, kind="real-other", other="isotropic"),
                            _where(rows, kind="real-other", other="feature-span"),
                            "both_worse",
                        ),
                        0.0,
                    ),
                ]
            ),
            "Turned by 8.1 degrees to either side: the share of slices in which both sides are less sensitive, and "
            "the smaller "
            "threshold of both sides over the centre's.",
            _table(["centre", "turned toward", "both sides worse", "best side over centre"], table),
            _frame(slices(run.tables["slices"]), "Medians over slices:"),
        ]
    )


def _mixtures(run: Run, sums: Run) -> str:
    columns = ("p", "p_plus", "p_plus_quadratic")
    table = [
        [row["kind"], row["what"], str(row["n"]), *(_interval(row, column) for column in columns)]
        for row in run.tables["pairs"]
    ]
    whole = {row["kind"]: row for row in run.tables["pairs"] if row["pair"] < 0}
    growth = sums.tables["growth"]
    slopes = [
        [
            kind,
            measured(_by_base(_where(growth, kind=kind), _mean("slope"))),
            measured(_by_base(_where(growth, kind=kind), _mean("of_smallest"))),
            measured(_by_base(_where(growth, kind=kind), _mean("of_largest"))),
        ]
        for kind in dict.fromkeys(row["kind"] for row in growth)
    ]
    features = _by_base(_where(growth, kind="sae-feature"), _mean("slope"))
    return "\n\n".join(
        [
            "## Mixtures: on which superellipse do they act?",
            "\n".join(
                verdict(f"p of {kind} is above that of any quadratic response", _as_measured(whole[kind], "p"), 2.0)
                for kind in whole
            ),
            "p is fitted to the even part of the response, in which cross terms cancel. Among mixtures of the "
            "directions as they are "
            "(p plus) it can be anything, and so can it be for the ellipse that the curvature at the base predicts "
            "(last column): "
            "one quadrant alone does not tell privileged directions from tilted ellipses.",
            _table(["kind", "pair", "bases", "p", "p plus", "p plus of the curvature alone"], table),
            _frame(pairs(run.tables["pairs"]), "p of each pair:"),
            "### Sums of n features at the same length",
            verdict("Thresholds of sums of n features grow as for independent thresholds (slope 0.5)", features, 0.5),
            _table(["kind", "slope of log threshold in log n", "one", "sixteen"], slopes),
            _frame(combined(sums.tables["combined"]), "Median thresholds:"),
        ]
    )


def _as_measured(row: Mapping[str, Any], column: str) -> Measured:
    found = [row[column], row[f"{column}_low"], row[f"{column}_high"]]
    return Measured(*(np.nan if value is None else float(value) for value in found))


def _interval(row: Mapping[str, Any], column: str) -> str:
    return "-" if row[column] is None else measured(_as_measured(row, column))


def _interaction(run: Run) -> str:
    rows = run.tables["excess"]
    kind = MAPS["interaction"]
    names = {
        "kl_excess": "KL beyond the sum of both, nats",
        "stream_share": "residual stream beyond the sum, share",
        "and_share": "grid where both together act (AND)",
        "or_share": "grid where either alone does (OR)",
    }
    table = [[name, measured(_by_base(rows, _mean(column)))] for column, name in names.items()]
    chart = kind.surface(kind.of(run.tables["interaction"], 0), kind.shades[0])
    return "\n\n".join(
        [
            "## Interaction: two pushes toward real activations",
            _table(["mean over the grid", "and over bases"], table),
            _frame(chart, "First base, KL beyond the sum:"),
        ]
    )


def _search(run: Run) -> str:
    found, nearest = run.tables["found"], _where(run.tables["nearest"], rank=1)
    kinds = list(dict.fromkeys(row["kind"] for row in found))
    table = []
    for kind in kinds:
        mine = _where(found, kind=kind)
        starts = {(row["base"], row["start"]) for row in mine}
        near = [row for row in nearest if (row["base"], row["start"]) in starts]
        cells = [measured(_by_base(mine, _mean(c))) for c in ("threshold_at_start", "threshold", "turned")]
        cosine = _by_base(near, lambda rows: float(np.mean([abs(row["cosine"]) for row in rows])))
        table.append([kind, *cells, measured(cosine)])
    distinct = _by_base(found, lambda rows: float(sum(row["same_as"] is None for row in rows)))
    starts_each = len(found) // len({row["base"] for row in found})
    gap = _by_base(nearest, lambda rows: float(np.mean([abs(row["cosine"]) - row["by_chance"] for row in rows])))
    on = np.mean([row["activation"] != 0 for row in nearest])
    return "\n\n".join(
        [
            "## Search: the most sensitive directions",
            verdict("What is found is nearer to a decoder vector than directions by chance are (|cosine|)", gap, 0.0),
            f"From {starts_each} starts a search arrives at {measured(distinct)} different directions a base. Of the "
            f"nearest features "
            f"{on:.0%} are active at the base.",
            _table(
                ["start", "threshold there", "found", "degrees turned", "\\|cosine\\| to the nearest decoder vector"],
                table,
            ),
            _frame(ascent(run.tables["ascent"]), "The score by step, last base:"),
        ]
    )


def _mechanism(run: Run) -> str:
    rows = run.tables["mechanism"]
    table = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        for frozen in ("nothing", "mlp", "attn", "norm"):
            mine = _where(rows, mode=mode, frozen=frozen, at="-" if frozen == "nothing" else "all")
            reached = np.array([np.inf if row["threshold"] is None else row["threshold"] for row in mine])
            cells = [measured(_by_base(mine, _mean(column))) for column in ("width", "near_share", "final_kl")]
            table.append([mode, frozen, measured(median_of(reached)), *cells])

    def change(part: str, mode: str, at: str = "all") -> Measured:
        held, plain = _where(rows, mode=mode, frozen=part, at=at), _where(rows, mode=mode, frozen="nothing")
        return _difference(held, plain, "width")

    blocks = list(dict.fromkeys(row["at"] for row in rows if row["at"].startswith("block")))
    single = [[at, *(measured(change(part, "straight", at)) for part in ("mlp", "attn", "norm"))] for at in blocks]
    return "\n\n".join(
        [
            "## Mechanism: what keeps the plateau flat?",
            "\n".join(
                [
                    verdict("Holding MLPs widens the rise, straight", change("mlp", "straight"), 0.0),
                    verdict("Holding MLPs widens the rise, on the sphere", change("mlp", "sphere"), 0.0),
                    verdict("Holding attention widens it, straight", change("attn", "straight"), 0.0),
                    verdict("Holding norms widens it, straight", change("norm", "straight"), 0.0),
                    verdict("Holding norms widens it, on the sphere", change("norm", "sphere"), 0.0),
                ]
            ),
            "Width: how much of the path L2 takes from 10 % to 90 % of its end, 0.8 on a line. Near: KL at 0.2 "
            "typical distances over "
            "KL at the end. The parts of all blocks behind the write are held at the base run.",
            _table(["path", "held", "threshold", "width", "near", "KL at the end"], table),
            "One block at a time, change of the width on straight lines:",
            _table(["held in", "MLP", "attention", "norms"], single),
            _frame(profiles(run.tables["profiles"]), "L2 at the last read hook as a share of its end:"),
        ]
    )


def _blind(tests: Sequence[Verdict], first: Run) -> str:
    names = [rule.name for rule in tests[0].rules]
    table = []
    for place, name in enumerate(names):
        right = mean_of(np.array([test.rules[place].right for test in tests]))
        area = mean_of(np.array([test.rules[place].auc for test in tests]))
        table.append([name, measured(right), measured(area)])
    best = mean_of(np.array([test.rules[0].auc for test in tests]))
    return "\n\n".join(
        [
            "## Blind test: features against made-up directions",
            verdict("The threshold alone tells real features from made-up ones (AUC)", best, 0.5),
            f"{len(tests)} tests on as many prompts, five real and five made up each; guessing has 5 of 10. What "
            f"rules of one number have, "
            "with intervals over tests; those that act soonest are taken for real:",
            _table(["rule", "right of 10", "AUC"], table),
            _frame(items(first.tables["items"]), "The curves of the first test, as they are shown before an answer:"),
        ]
    )


def _times(runs: Mapping[str, Run]) -> str:
    table = []
    for name, run in runs.items():
        begun = next(t for t, event in run.events if isinstance(event, RunStarted))
        rows = [(t, event) for t, event in run.events if isinstance(event, RowResult)]
        first = next(iter(run.tables))
        groups = len({row.get(MAPS[first].group) for row in run.tables[first]}) if first in MAPS else 0
        seconds = rows[-1][0] - begun
        each = f"{seconds / groups:.2f}" if groups else "-"
        table.append([name, str(len(rows)), f"{seconds:.1f}", str(groups or "-"), each])
    return "\n\n".join(
        [
            "## Time",
            "On two cores that were shared with other work, from the loaded model to the last row, drawing of bases "
            "and directions included:",
            _table(["run", "rows", "seconds", "maps", "seconds a map"], table),
        ]
    )


if __name__ == "__main__":
    main()
