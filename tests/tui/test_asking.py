"""What the app asks beside curves: the untrained twin, cards of features, what the model goes on to write."""

from __future__ import annotations

import os
import signal

import numpy as np
from textual.pilot import Pilot

from tests.driving import frame, play, saved, until, worker_pid
from tui.app import DirscopeApp
from tui.screens.dialogs import Writings
from tui.screens.feature_card import FeatureDialog
from tui.widgets.direction_list import DirectionList


def test_the_untrained_twin_is_one_key_away_and_the_trained_medians_stay_behind_it() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        trained = probe.picture
        await pilot.press("u")
        await until(pilot, lambda: probe.picture.ended and probe.picture.info is not trained.info, "the twin")
        await saved(app, pilot)
        assert probe.picture.info["model"]["weights"] == "reinitialised"
        assert max(s.final_kl for s in probe.picture.summaries) < 0.1 < max(s.final_kl for s in trained.summaries)
        assert probe.beside is trained
        assert "t: trained" in frame(pilot)
        assert probe.view.metric == "share"
        assert np.allclose([probe.drawn.series(c, "share")[-1] for c in probe.drawn.curves], 1)
        await pilot.press("u")
        await until(pilot, lambda: probe.picture.ended and probe.recipe.model.weights == "trained", "the model again")
        await saved(app, pilot)
        assert [s.threshold for s in probe.picture.summaries] == [s.threshold for s in trained.summaries]
        assert probe.view.metric == "kl"
        await pilot.press("g")
        assert probe.beside is None  # of another recipe: it would compare nothing
        await saved(app, pilot)

    play(story)


def test_a_feature_has_a_card() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await until(pilot, lambda: bool(probe.features.rows), "active features")
        rows = probe.query_one(DirectionList).rows
        place = next(i for i, row in enumerate(rows) if row.feature is not None)
        await pilot.press("d", "i")
        assert not isinstance(app.screen, FeatureDialog)  # the cursor is on no feature
        await pilot.press(*["down"] * place, "i")
        await until(pilot, lambda: "nearest by decoder cosine" in frame(pilot), "the card")
        assert isinstance(app.screen, FeatureDialog)
        evidence = probe.features.rows[0].evidence
        assert evidence is not None
        text = frame(pilot)
        assert f"feature {probe.features.rows[0].index}" in text
        assert f"{evidence.rate:.2%}" in text
        assert f"⟨{evidence.raised[0]}⟩" in text
        assert evidence.snippets[0].token.strip() in text
        await pilot.press("escape")
        assert app.screen is probe

    play(story)


def test_the_model_writes_on_with_the_direction_under_the_cursor() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        await pilot.press("c", *["shift+right"] * 3, "x")
        assert isinstance(app.screen, Writings)
        await until(pilot, lambda: frame(pilot).count("with it") >= 3, "continuations")
        text = frame(pilot)
        assert text.count("as is") >= 3
        assert "random 0 at" in text
        await pilot.press("escape")
        assert app.screen is probe
        assert probe.picture.ended  # asking is no run: nothing was computed again

    play(story)


def test_writing_on_waits_for_curves_of_the_recipe_on_the_screen() -> None:
    """Right after a change the old curves are still drawn: their directions do not belong to the new recipe."""

    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        probe = app.probe
        await saved(app, pilot)
        worker = worker_pid(app)
        os.kill(worker, signal.SIGSTOP)  # so that the new curves cannot come first
        await pilot.press("c", "right_square_bracket", "x")
        assert app.screen is probe
        assert "once this run has ended" in probe.problem
        os.kill(worker, signal.SIGCONT)
        await until(pilot, lambda: probe.picture.site.get("write") == "blocks.2.hook_resid_pre", "the next layer")
        await saved(app, pilot)
        await pilot.press("x", "ctrl+p")  # the palette is over the dialog when the answer comes
        await pilot.pause(3)
        await pilot.press("escape")
        await until(pilot, lambda: frame(pilot).count("with it") >= 3, "continuations behind the palette")

    play(story)


def test_whoever_waits_for_the_model_is_told_when_the_worker_dies() -> None:
    async def story(app: DirscopeApp, pilot: Pilot) -> None:
        await saved(app, pilot)
        worker = worker_pid(app)
        os.kill(worker, signal.SIGSTOP)  # so that it cannot answer first
        await pilot.press("c", "x")
        await pilot.pause(0.3)
        os.kill(worker, signal.SIGKILL)
        await until(pilot, lambda: isinstance(app.screen, Writings) and "writing ..." not in frame(pilot), "an answer")
        assert "worker" in frame(pilot)

    play(story)
