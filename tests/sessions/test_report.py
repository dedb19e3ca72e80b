"""Reports, contrasts and cautions of runs: what a page says is what the run's files hold."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UsageError
from engine.recipe import parse_recipe, parse_toml
from engine.results import Summary
from sessions.cautions import cautions, footnotes, letters
from sessions.caveats import caveats
from sessions.chart import Chart, Drawable, HeatMap
from sessions.crowd import BY_COLUMN, SCALARS, Crowd, series
from sessions.export import Part, export
from sessions.figure import draw_figure
from sessions.gallery import charts
from sessions.pictures import picture_of
from sessions.reader import Run, read_run
from sessions.report import page
from sessions.separation import contrasts, pairs
from sessions.stories import columns, stories
from sessions.timeleft import TimeLeft
from sessions.views import Choice, views
from tests.conftest import command
from tui.plotting import draw


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Run:
    return read_run(run_folder)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run of several bases of two kinds, made by the command."""
    place = tmp_path_factory.mktemp("many")
    done = command(
        "--batch", "propagation", "--out", "out", "--set", "population.n=200", "--set", "path.steps=20",
        "--set", 'bases=[{kind="prompt"}, {kind="real-other", count=7}, {kind="random", count=6}]',
        "--set", "expect=[]",
        cwd=place, env={"DIRSCOPE_HOME": str(place / "home")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return read_run(place / "out")


def as_text(chart: Drawable, width: int, height: int) -> str:
    return draw(chart, width, height).plain


def test_a_report_says_what_was_asked_what_came_out_and_how_to_get_it_again(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    export(run.folder, "md", file, Part(draw=as_text))
    text = file.read_text()
    assert text.startswith("# probe: embedded")
    for part in ("## What was asked", "## Model", "## Curves", "## Contrasts", "## Pictures", "## Caveats"):
        assert part in text
    for kind in {s.kind for s in run.summaries}:
        found = re.search(rf"^\| {kind}(?: \[\w+\])? \| (\d+) \|", text, re.MULTILINE)
        assert found is not None
        assert int(found[1]) == sum(s.kind == kind for s in run.summaries)
    medians = re.search(r"^\| random(?: \[\w+\])? \| 2 \| 1 \| ([\d.]+)", text, re.MULTILINE)
    assert medians is not None
    thresholds = [s.threshold for s in run.summaries if s.kind == "random"]
    assert float(medians[1]) == pytest.approx(np.median(thresholds), rel=5e-3)
    assert "Isotropic directions are no fair baseline" in text
    assert "One base is an anecdote" in text
    assert run.info["model"]["weights_sha256"][:16] in text
    recipe = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert recipe is not None
    assert parse_recipe(parse_toml(recipe[1], "the report")) == run.recipe
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert {"report-bands.svg", "report-cdf.svg", "report-prediction.svg", "report-curves.svg"} <= set(pictures)
    for picture in pictures:
        assert (tmp_path / picture).read_text().startswith("<?xml")
    assert "⣀" in text or "⠤" in text, "drawn as text too"
    assert all(line == line.rstrip() for line in text.splitlines() if "⣀" in line)


def test_without_matplotlib_a_report_has_its_plots_as_text_and_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = tmp_path / "report.md"
    export(run.folder, "md", file, Part(draw=as_text))
    assert "need matplotlib" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(UsageError, match="dirscope\\[figures\\]"):
        export(run.folder, "svg", tmp_path / "x.svg")


def test_pictures_can_be_chosen_and_are_the_same_every_time(run: Run, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        export(run.folder, "svg", tmp_path / name, Part(view="cdf"))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    export(run.folder, "png", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UsageError, match="no picture 'nothing'; it has bands"):
        export(run.folder, "svg", tmp_path / "d.svg", Part(view="nothing"))
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        draw_figure([], tmp_path / "x.gif", "")


def test_real_bases_are_one_group_and_each_group_has_a_letter_of_its_own(many: Run) -> None:
    crowd = Crowd(many.info, many.curves)
    names = [group.name for group in crowd.groups]
    assert names == ["random@real", "real-other@real", "random@random", "real-other@random"]
    assert len({group.look.letter for group in crowd.groups}) == 4
    assert [group.n_bases for group in crowd.groups] == [8, 8, 6, 6]
    assert sum(len(group.curves) for group in crowd.groups) == len(many.curves)


def test_contrasts_are_between_kinds_of_one_base_and_bases_of_one_kind(many: Run) -> None:
    crowd = Crowd(many.info, many.curves)
    assert [(a.name, b.name) for a, b in pairs(crowd)] == [
        ("random@real", "real-other@real"),
        ("random@random", "real-other@random"),
        ("random@real", "random@random"),
        ("real-other@real", "real-other@random"),
    ]
    same, _, across, _ = contrasts(crowd)
    assert same.win is not None
    assert same.wins["max_slope_step"] != same.win
    assert across.win is None, "different bases have no wins"
    assert "plateau_length" in across.auc
    rows = {g.name: [s.threshold or np.inf for s in g.summaries] for g in crowd.groups}
    x, y = np.array(rows["random@real"])[:, None], np.array(rows["random@random"])[None]
    assert across.auc["threshold"].value == pytest.approx(float(((x < y) + 0.5 * (x == y)).mean()))
    for found in (same, across):
        for measured in found.auc.values():
            assert measured.low <= measured.value <= measured.high
        assert all(0 <= measured.chance <= 1 for measured in found.ks.values())


def test_families_are_compared_only_when_asked(run: Run) -> None:
    crowd = Crowd(run.info, run.curves)
    assert all(a.family == b.family for a, b in pairs(crowd))
    further = [pair for pair in pairs(crowd, families=True) if pair[0].family != pair[1].family]
    assert further
    asked = replace(run, recipe=parse_recipe({**run.recipe.data(), "options": {"across": True}}))
    assert "across families" in page(asked)
    assert "across families: such" not in page(run)


def test_more_sensitive_is_less_for_thresholds_and_more_for_areas(many: Run) -> None:
    crowd = Crowd(many.info, many.curves)
    first, second = pairs(crowd)[0]
    found = contrasts(crowd)[0]
    for column, sign in (("area", -1), ("max_slope_step", 1)):
        x, y = (sign * np.array([getattr(s, column) for s in g.summaries]) for g in (first, second))
        expected = ((x[:, None] < y) + 0.5 * (x[:, None] == y)).mean()
        assert found.auc[column].value == pytest.approx(float(expected))


def test_every_view_of_a_run_can_be_drawn_by_both(many: Run, tmp_path: Path) -> None:
    crowd = Crowd(many.info, many.curves)
    drawn = 0
    for view in views():
        for scalar in SCALARS if "scalar" in view.depends else SCALARS[:1]:
            for read, metric in crowd.metrics() if "metric" in view.depends else [("logits", "kl")]:
                choice = Choice(scalar, read, metric, group=1)
                chart = view.make(crowd, choice)
                assert view.title(crowd, choice)
                if chart is None:
                    continue
                drawn += 1
                for width, height in ((120, 30), (58, 12), (20, 6)):
                    text = draw(chart, width, height)
                    assert max(len(line) for line in text.plain.splitlines()) <= width
                    assert len(text.plain.splitlines()) <= height
    assert drawn > 40
    found = charts(many, crowd)
    assert {"bands", "bands-l2", "examples", "histogram", "cdf-max-slope", "prediction", "layers", "layers-1"} <= set(
        found
    )
    draw_figure([found["layers"][1], found["bands"][1]], tmp_path / "two.png", "two")


def test_the_map_of_layers_holds_the_medians(many: Run) -> None:
    crowd = Crowd(many.info, many.curves)
    heat = next(v for v in views() if v.name == "layers").make(crowd, Choice(group=2))
    assert isinstance(heat, HeatMap)
    group = crowd.groups[2]
    read = "blocks.3.hook_resid_post"
    sizes = np.stack([c.values[read]["l2"][1:] / c.distance[1:] for c in group.curves])
    row = heat.rows.index("3.hook_resid_post")
    assert np.allclose(heat.values[row], np.median(sizes, axis=0))


def test_a_cumulative_share_ends_below_one_where_some_never_cross(many: Run) -> None:
    crowd = Crowd(many.info, many.curves)
    curve = many.curves[0]
    never = replace(curve, summary=replace(curve.summary, threshold=None, censored=True))
    crowd = Crowd(many.info, (never, *many.curves[1:]))
    chart = next(v for v in views() if v.name == "cdf").make(crowd, Choice())
    assert isinstance(chart, Chart)
    n = len(crowd.groups[0].curves)
    assert chart.lines[0].y[-1] == pytest.approx((n - 1) / n)
    assert "never" in chart.legend[0][1]


def test_a_histogram_counts_what_never_happens_in_n(many: Run) -> None:
    never = replace(many.curves[0], summary=replace(many.curves[0].summary, threshold=None, censored=True))
    crowd = Crowd(many.info, (never, *many.curves[1:]))
    chart = next(v for v in views() if v.name == "histogram").make(crowd, Choice())
    assert isinstance(chart, Chart)
    n = len(crowd.groups[0].curves)
    assert chart.lines[0].y[::2].sum() == pytest.approx((n - 1) / n)


def test_size_is_over_the_length_of_the_push_and_not_over_the_angle(many: Run) -> None:
    curve = many.curves[0]
    round_ = replace(curve, coordinate=np.linspace(0, 90, len(curve.coordinate)))
    read = "blocks.3.hook_resid_post"
    assert np.allclose(series(round_, read, "size")[1:], curve.values[read]["l2"][1:] / curve.distance[1:])


def test_pictures_of_tables_show_what_they_say() -> None:
    rows = [
        {"layer": layer, "win_rate": 0.5 + layer / 10 + base / 100, "first_never": 0.3, "base": base}
        for layer in (1, 2, 3)
        for base in range(5)
    ]
    chart = picture_of("layers", {"layers": rows})
    assert chart is not None
    assert [mark.y for mark in chart.marks] == pytest.approx([0.62, 0.72, 0.82])
    assert [name for _, name in chart.x_ticks] == ["1", "2", "3"]
    ratios = [
        {
            "place": place, "sae_id": f"blocks.{place}.x", "control": control, "replaced": replaced,
            "kl_ratio": 1.5, "kl_low": 1.2, "kl_high": 1.9,
        }
        for place in (0, 1)
        for replaced in ("substitution", "everywhere")
        for control in ("isotropic", "norm")
    ]  # fmt: skip
    chart = picture_of("ratios", {"ratios": ratios})
    assert chart is not None
    assert [name for _, name in chart.x_ticks] == ["0.x", "1.x"]
    assert len(chart.marks) == 4
    assert {tuple(line.y) for line in chart.lines} == {(1.2, 1.9)}
    assert [name for _, name, _ in chart.legend] == ["isotropic", "norm"]


def test_of_many_groups_each_is_held_against_its_control(many: Run) -> None:
    kinds = ("random", "real-other", "interpolation", "real-other-on", "real-other-off")
    curves = tuple(
        replace(curve, summary=replace(curve.summary, kind=kind, base_kind="real-other"))
        for kind in kinds
        for curve in many.curves[:2]
    )
    found = [(a.kind, b.kind) for a, b in pairs(Crowd(many.info, curves))]
    assert found == [(kind, "random") for kind in kinds[1:]]
    few = [(a.kind, b.kind) for a, b in pairs(Crowd(many.info, curves[:6]))]
    assert len(few) == 3


def test_a_report_of_propagation_tells_the_simple_stories(many: Run) -> None:
    text = page(many)
    assert "## On the way to the output" in text
    crowd = Crowd(many.info, many.curves)
    told = stories(crowd)
    assert {t.share for t in told} == {0.2, 0.5, 1.0}
    names = columns(crowd)
    group = crowd.groups[0]
    place = 0.5 * many.info["typical_distance"]
    margins = [np.interp(place, c.coordinate, c.values["logits"]["margin"]) for c in group.curves]
    cell = next(t for t in told if (t.group, t.share) == (group.label, 0.5)).cells[names.index("margin, nats")]
    assert float(cell.partition(" ")[0]) == pytest.approx(np.median(margins), abs=0.15)
    assert {"bands-margin", "bands-norm", "layers-flips"} <= set(charts(many, crowd))


# Cautions


def row(**changes: object) -> Summary:
    plain = Summary(
        0, 0, "real-other", "real-other", "", 1.0, 1.0, 5.0, False, 3, 2.0, False, 1.0, 4.0, base_entropy=2.0, area=1.0
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


INFO = {
    "site": {"position": 5},
    "population": {"n": 1000},
    "model": {"d_model": 256},
    "path": {"steps": 50, "stop": 13.0},
    "noise_floor": None,
}


@pytest.mark.parametrize(
    ("letter", "info", "rows"),
    [
        ("", INFO, [row()] * 10),
        ("0", {**INFO, "site": {"position": 0}}, [row()]),
        ("n", {**INFO, "population": {"n": 500}}, [row(kind="random")]),
        ("n", {**INFO, "population": {"n": 500}}, [row(base_kind="random")]),
        ("", {**INFO, "population": {"n": 500}}, [row(kind="real-other")]),
        ("h", INFO, [row(base_entropy=0.01), *[row()] * 9]),
        ("", INFO, [row(base_entropy=0.01), *[row()] * 19]),
        ("f", {**INFO, "noise_floor": {"kl": 1e-3}}, [row(final_kl=None), row()]),
        ("e", {**INFO, "path": {"steps": 50, "stop": None}}, [row()]),
        ("c", INFO, [row(threshold=None, censored=True), row()]),
        ("g", INFO, [row(plateau_length=None), row()]),
        ("", INFO, [row(plateau_length=None, plateau_censored=True), row()]),
    ],
)
def test_cautions_stand_where_they_belong(letter: str, info: dict, rows: list[Summary]) -> None:
    found = cautions(info, rows)
    assert "".join(c.letter for c in found) == letter
    assert letters(found) == (f" [{letter}]" if letter else "")
    assert len(footnotes([found, found])) == len(found), "each sentence once"


def test_caveats_are_those_that_apply(run: Run, many: Run) -> None:
    one, other = caveats(run), caveats(many)
    assert any("Isotropic" in text for text in one)
    assert not any("Isotropic" in text for text in other)
    assert any("Made-up bases" in text for text in other)
    stopped = replace(many, events=many.events[:-1])
    assert any("has not ended, or was stopped" in text for text in caveats(stopped))


def test_time_left_is_told_from_the_pace() -> None:
    left = TimeLeft()
    assert left.after(0, 100, 0.0) == ""
    assert left.after(10, 100, 2.0) == "", "too early"
    assert left.after(10, 100, 10.0) == "90 s left".replace("90 s", "2 min")
    assert left.after(50, 100, 20.0) == "20 s left"
    assert left.after(100, 100, 40.0) == ""
    assert left.after(0, 40, 50.0) == "", "another count begins anew"
    resumed = TimeLeft()
    resumed.after(900, 1000, 0.0)
    assert resumed.after(950, 1000, 10.0) == "10 s left", "what was done before says nothing of the pace"


def test_scalars_know_their_column() -> None:
    assert set(BY_COLUMN) == {scalar.column for scalar in SCALARS}
    assert all(hasattr(row(), column) for column in BY_COLUMN)
