"""What is seen before a run is whole: first points, the pace of drawing, the noise floor, what is read ahead."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
from textual.pilot import Pilot

from engine.neighbours import neighbours
from engine.recipe import parse_recipe
from engine.results import CurveResult, Note, RunStarted, Sketch, Sketches
from tests.driving import frame, play, saved, until
from tui.app import DirscopeApp
from tui.charts import View, chart
from tui.picture import Picture
from tui.plotting import draw
from tui.status import site_text
from tui.widgets.curve_plot import CurvePlot

RECIPE = parse_recipe({"site": {"prompt": "One day"}})
INFO = {
    "n_curves": 2,
    "level": 0.5,
    "path": {"unit": "L2", "stop": 10.0},
    "site": {"read": ["r"], "position": 3, "norm": 1.0, "norm_percentile": 50.0, "distance_from_mean": 1.0},
    "typical_distance": 5.0,
    "warnings": [],
}


def sketch(curve: int, steps: int, kind: str = "random") -> Sketch:
    x = np.linspace(0, 10, steps)
    values = {"logits": {"kl": x / 5}, "r": {"l2": x, "cosine": 1 - x / 20}}
    return Sketch(curve, "prompt", kind, f"{kind} {curve}", x, values)


def test_the_first_points_are_drawn_before_any_curve_and_go_when_it_comes() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        seen: list[tuple[int, int]] = []
        taken = probe.take

        def take(event: object) -> None:
            taken(event)  # type: ignore[arg-type]
            if isinstance(event, Sketches | CurveResult):
                seen.append((len(probe.picture.sketches), len(probe.picture.curves)))

        probe.take = take  # type: ignore[method-assign]
        await pilot.press("g")
        await until(pilot, lambda: len(seen) >= 24 and probe.picture.ended, "another run")
        assert seen[0] == (24, 0)
        curves = [s for s in seen if s[1]]
        assert curves == [(24 - n, n) for n in range(1, 25)]
        assert not probe.picture.sketches

    play(story, DirscopeApp.fresh(["population.n=60", "path.steps=50"]))


def test_few_points_are_not_joined_and_more_are() -> None:
    picture = Picture().after(RunStarted(INFO)).after(Sketches((sketch(0, 5),)))
    points = draw(chart(picture, View()), 60, 16).plain
    assert points.count("•") in (4, 5)  # one may lie under the letter
    assert not any("⠁" <= c <= "⣿" for line in points.splitlines()[:4] for c in line[-20:-10])
    lines = draw(chart(picture.after(Sketches((sketch(0, 20),))), View()), 60, 16).plain
    assert "•" not in lines
    for metric in ("l2", "cosine", "share"):
        assert draw(chart(picture, View(metric=metric)), 60, 16).plain.count("•") >= 4


def test_the_noise_floor_is_on_the_plot_and_beside_the_site() -> None:
    info = {**INFO, "noise_floor": {"kl": 0.4, "l2": {"r": 0.1}}}
    picture = Picture().after(RunStarted(info)).after(Sketches((sketch(0, 20),)))
    assert "noise" in draw(chart(picture, View()), 60, 16).plain
    assert "noise floor 0.4 nats" in site_text(picture, RECIPE, 80).plain
    assert "noise" not in draw(chart(picture, View(metric="l2")), 60, 16).plain
    without = Picture().after(RunStarted(INFO)).after(Sketches((sketch(0, 20),)))
    assert "noise" not in draw(chart(without, View()), 60, 16).plain
    assert "noise" not in site_text(without, RECIPE, 80).plain


def test_a_warning_of_a_run_is_shown() -> None:
    picture = Picture().after(RunStarted(INFO)).after(Note("Out of memory: going on with 64 rows", "warning"))
    assert "Out of memory: going on with 64 rows" in site_text(picture, RECIPE, 80).plain


def test_drawing_keeps_its_pace_and_draws_nothing_twice() -> None:
    """At most eight charts a second, however often something changes, and none when nothing did."""

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await pilot.pause(0.3)
        plot = probe.query_one(CurvePlot)
        before = plot.drawings
        for _ in range(10):
            probe.mark_stale()
            await asyncio.sleep(0.05)
        await pilot.pause(0.3)
        assert plot.drawings == before
        began, done = time.monotonic(), 0.0
        while done < 1.0:
            probe.picture = probe.drawn = replace(probe.drawn, note=f"{done}")
            probe.mark_stale()
            await asyncio.sleep(0.01)
            done = time.monotonic() - began
        await pilot.pause(0.3)
        assert 2 <= plot.drawings - before <= 8 * (done + 0.3) + 2

    play(story)


def test_a_run_that_warns_while_it_goes_says_so_on_the_screen() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        app.probe.take(Note("Out of memory: going on with 64 rows at a time", "warning"))
        await until(pilot, lambda: "Out of memory" in frame(pilot), "the note")

    play(story, size=(160, 40))


def test_what_is_read_ahead_are_the_tokens_and_layers_beside() -> None:
    recipe = parse_recipe({"site": {"prompt": "One day", "position": 2, "write": "blocks.1.attn.hook_z"}})
    found = [(r.site.position, r.site.write) for r in neighbours(recipe, 3)]
    assert found == [
        (1, "blocks.1.attn.hook_z"),
        (3, "blocks.1.attn.hook_z"),
        (2, "blocks.2.attn.hook_z"),
        (2, "blocks.0.attn.hook_z"),
    ]
    last = parse_recipe({"site": {"prompt": "One day", "position": -1, "write": "blocks.2.hook_resid_post"}})
    assert [r.site.position for r in neighbours(last, 3)] == [-2]
