"""What the main screen asks beside curves: the untrained twin, evidence of a feature, what the model goes on to write.

Knows dialogs and the bridge.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.directions import DIRECTIONS
from engine.directions.vector import packed
from engine.questions.features import FeatureCard
from engine.questions.null import AgainstNulls
from engine.questions.writing import WriteOn
from engine.recipe import parse_recipe
from tui import edits
from tui.screens.dialogs import Writings

if TYPE_CHECKING:
    from engine.results import CurveResult
    from tui.screens.probe import ProbeScreen


def show_feature(screen: ProbeScreen, index: int | None) -> None:
    """What is known of a feature."""
    if index is None:
        screen.complain("Cards are of SAE features: move to one below sae-feature.")
    elif screen.bridge is None:
        screen.complain("This is a replay, which has no SAE: enter goes on live from here, with cards.")
    else:
        from tui.screens.feature_card import FeatureDialog

        screen.answer_in(FeatureDialog(), FeatureCard(index))


def toggle_weights(screen: ProbeScreen) -> None:
    """Run the same on the untrained twin, or on the trained model again, what was there behind it."""
    before, shown = screen.recipe, screen.drawn
    whole = screen.picture.ended and screen.site_is_current and shown.info is screen.picture.info
    weights = "reinitialised" if before.model.weights == "trained" else "trained"
    screen.change(lambda r: edits.edited(r, "model", weights=weights))
    if screen.recipe is before:
        return
    if whole:
        screen.beside = shown
    # Untrained logits and activations are so small that only shapes compare, at equal shares of the typical distance.
    if weights == "reinitialised" and screen.view.metric == "kl":
        screen.shapes_only = True
        axis = "typical" if not screen.view.axis and screen.recipe.path.mode == "straight" else screen.view.axis
        screen.view = replace(screen.view, metric="share", axis=axis)
    elif weights == "trained" and screen.shapes_only:
        screen.shapes_only = False
        metric = "kl" if screen.view.metric == "share" else screen.view.metric
        axis = "" if screen.view.axis == "typical" else screen.view.axis
        screen.view = replace(screen.view, metric=metric, axis=axis)
    screen.mark_stale()


def _curve_from_prompt(screen: ProbeScreen, what_for: str) -> CurveResult | None:
    """The curve under the cursor; None, with a sentence, where the model cannot be asked about it."""
    picture, view = screen.drawn, screen.view
    if screen.bridge is None:
        screen.complain(f"This is a replay, which has no model: go on live with enter to {what_for}.")
        return None
    # Right after a change the curves still are those of the recipe before.
    current = screen.site_is_current and picture.info is screen.picture.info
    if not current or not picture.ended or not 0 <= view.curve < len(picture.curves):
        screen.complain(f"You can {what_for} once this run has ended with curves: a moment.")
        return None
    curve = picture.curves[view.curve]
    if curve.summary.base_kind != "prompt":
        screen.complain("This curve starts from another base than the prompt: pick one that starts from the prompt.")
        return None
    return curve


def against_nulls(screen: ProbeScreen) -> None:
    """How unusual the threshold under the cursor is."""
    curve = _curve_from_prompt(screen, "compare with nulls")
    if curve is not None:
        from tui.screens.null_dialog import NullDialog

        family = DIRECTIONS[curve.summary.kind].family
        dialog = NullDialog(curve.summary.label, "°" if screen.drawn.unit == "degrees" else "")
        screen.answer_in(dialog, AgainstNulls(curve.summary.label, family, curve.direction))


def decompose_curve(screen: ProbeScreen) -> None:
    """Take the direction under the cursor apart into SAE features."""
    curve = _curve_from_prompt(screen, "decompose")
    if curve is None:
        return
    from tui.screens.tables import TablesScreen

    data = edits.with_experiment(screen.recipe, "decompose", {}).data()
    vector = {"kind": "vector", "label": curve.summary.label, "data": packed(curve.direction)}
    recipe = parse_recipe({**data, "directions": [vector]})
    screen.app.push_screen(TablesScreen(screen, recipe, title=f"{curve.summary.label} as a sum of features"))


def open_workbench(screen: ProbeScreen) -> None:
    """Show the SAE's features."""
    if screen.bridge is None:
        screen.complain("This is a replay, which has no SAE: enter goes on live from here, with features.")
    else:
        from tui.screens.workbench import Workbench

        screen.app.push_screen(Workbench(screen))


def write_on(screen: ProbeScreen) -> None:
    """Let the model continue the prompt, with what the cursor stands on added and without."""
    curve = _curve_from_prompt(screen, "let the model write on")
    if curve is None:
        return
    picture, view = screen.drawn, screen.view
    coordinate = float(curve.coordinate[min(view.step, len(curve.coordinate) - 1)])
    unit = "°" if picture.unit == "degrees" else " L2"
    dialog = Writings(screen.recipe.site.prompt, f"{curve.summary.label} at {coordinate:.3g}{unit}")
    screen.answer_in(dialog, WriteOn(curve.direction, coordinate))
