"""What the main screen asks in a dialog: hooks, steering prompts, the model, the recipe, export formats.

Each function opens a dialog over a screen and hands the answer back to it. Knows dialogs and files of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.widgets import Input

from engine.directions import DIRECTIONS
from engine.errors import DirscopeError
from engine.experiments import EXPERIMENTS
from engine.hooks import hook_names
from engine.recipe import Recipe
from sessions.kinds import USUAL
from tui import edits
from tui.help import NOTES, help_of
from tui.messages import KindToggled
from tui.screens.dialogs import AskLine, Choose, EditText, Help, TwoPrompts
from tui.screens.opening import STEERING, screen_of
from tui.screens.running import as_text, session_of, unused
from tui.screens.taking import to_clipboard
from tui.widgets.direction_list import kinds_in_order

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen

SECTIONS: Final = ("seed", "model", "site", "population", "sae", "bases", "directions", "path", "metrics")
"""What defines curves."""


def pick_write(screen: ProbeScreen) -> None:
    """Ask where to perturb."""
    title = "write hook: where the model is perturbed"
    _pick_hook(screen, title, screen.recipe.site.write, edits.with_write)


def pick_read(screen: ProbeScreen) -> None:
    """Ask where L2 and cosine are measured."""
    current = screen.picture.site.get("read", [""])[-1]
    title = "read hook: where L2 and cosine are measured"
    _pick_hook(screen, title, current, lambda recipe, hook, layers: edits.edited(recipe, "site", read=[hook]))


def _pick_hook(screen: ProbeScreen, title: str, current: str, edit: Callable[[Recipe, str, int], Recipe]) -> None:
    layers = screen.n_layers
    if not layers and screen.picture.ended:
        layers = 2  # the model refused the site before it said how many it has: these exist in every one
    if not layers:
        screen.complain("The hooks are known once the model is loaded: a moment.")
        return

    def use(hook: str | None) -> None:
        if hook is not None:
            screen.change(lambda recipe: edit(recipe, hook, layers))

    screen.app.push_screen(Choose(title, [(h, h) for h in hook_names(layers)], current), use)


def ask_steering(screen: ProbeScreen) -> None:
    """Ask for the two prompts of a steering direction."""

    def use(prompts: tuple[str, str] | None) -> None:
        if prompts is not None:
            screen.change(lambda recipe: edits.with_steering(recipe, *prompts))

    old = next((s for s in edits.direction_data(screen.recipe) if s["kind"] == "steering"), {})
    screen.app.push_screen(TwoPrompts(old.get("plus", ""), old.get("minus", "")), use)


def ask_options(screen: ProbeScreen, kind: str) -> None:
    """Ask for the options of a kind of direction."""
    if kind == "steering" and not any("align" in s and s["align"] != "last" for s in _tables_of(screen, kind)):
        ask_steering(screen)
        return

    def use(text: str | None) -> None:
        if text is not None:
            screen.change(lambda recipe: edits.with_options(recipe, kind, text))

    note = DIRECTIONS[kind].summary
    start = edits.options_toml(screen.recipe, kind)
    dialog = EditText(f"{kind}: options as TOML", start, lambda t: edits.with_options(screen.recipe, kind, t), note)
    screen.app.push_screen(dialog, use)


def _tables_of(screen: ProbeScreen, kind: str) -> list[dict[str, Any]]:
    return [s for s in edits.direction_data(screen.recipe) if s["kind"] == kind]


def pick_experiment(screen: ProbeScreen) -> None:
    """Ask which experiment is wanted, and run it on this model, prompt, token and hook."""

    def use(name: str | None) -> None:
        if name is not None:
            open_experiment(screen, name)

    labels = [(e.name, f"{e.name:<21}{e.summary}") for e in EXPERIMENTS.values() if e.name != "probe"]
    screen.app.push_screen(Choose("experiment on this prompt, token and hook", sorted(labels), wide=True), use)


def open_experiment(screen: ProbeScreen, name: str) -> None:
    """Run an experiment at this place; a lab that was left here is come back to, composed vectors and all."""
    try:
        recipe = edits.experiment_at(screen.recipe, name)
    except DirscopeError as error:
        screen.complain(str(error))
        return
    lab = screen.left_behind.get(name) if name == STEERING else None
    if lab is not None and same_place(lab.recipe, recipe):
        screen.app.push_screen(lab.again())
    else:
        screen.app.push_screen(screen_of(screen, recipe))


def same_place(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes are of the same model, prompt, token and hook."""
    same = all(getattr(one, name) == getattr(other, name) for name in ("model", "population", "sae", "seed"))
    return same and all(getattr(one.site, n) == getattr(other.site, n) for n in ("prompt", "position", "write", "bos"))


def pick_kind(screen: ProbeScreen) -> None:
    """Ask which of the kinds that the list does not show is wanted."""
    unlisted = [k for k in kinds_in_order() if k not in USUAL and not edits.count_of(screen.recipe, k)]

    def use(kind: str | None) -> None:
        if kind is not None:
            screen.post_message(KindToggled(kind))

    labels = [(k, f"{k:<22}{DIRECTIONS[k].family:<8}{DIRECTIONS[k].summary}") for k in unlisted]
    screen.app.push_screen(Choose("another kind of direction", labels), use)


def export_run(screen: ProbeScreen) -> None:
    """Ask for a format and write the run on the screen into the current directory."""
    from sessions.export import FORMATS, Part, export

    folder = screen.whole_run("exported")
    if folder is None:
        return

    def use(form: str | None) -> None:
        if form is None:
            return
        curves = screen.drawn.curves
        curve = curves[screen.view.curve].summary.curve if 0 <= screen.view.curve < len(curves) else 0
        which = f"-curve-{curve}" if form == "py" else ""
        file = unused(Path.cwd() / f"dirscope-{session_of(folder)}{folder.name}{which}.{form}")
        try:
            export(folder, form, file, Part(curve, draw=as_text))
            if form == "py":
                to_clipboard(screen.app, file.read_text(encoding="utf-8"), "python")
        except DirscopeError as error:
            screen.complain(str(error))
        else:
            screen.notify(str(file), title="exported", markup=False)

    said = {"py": "py   the curve under the cursor as transformer-lens code, copied too"}
    screen.app.push_screen(Choose("export this run as", [(f, said.get(f, f)) for f in FORMATS]), use)


def ask_model(screen: ProbeScreen) -> None:
    """Ask for another model."""

    def use(name: str | None) -> None:
        if name is not None and name.strip():
            screen.change(lambda recipe: edits.edited(recipe, "model", name=name.strip()))

    hint = "'embedded', a directory in Hugging Face format, or a Hub id such as gpt2"
    screen.app.push_screen(AskLine("model", screen.recipe.model.name, hint), use)


def edit_recipe(screen: ProbeScreen) -> None:
    """Edit all that defines the picture, as TOML."""

    def use(text: str | None) -> None:
        if text is not None:
            screen.change(lambda recipe: edits.with_sections(recipe, SECTIONS, text))
            screen.query_one("#prompt", Input).value = screen.recipe.site.prompt

    note = "everything that defines this picture; what is left out has its default"
    start = edits.sections_toml(screen.recipe, SECTIONS)
    screen.app.push_screen(
        EditText("recipe", start, lambda text: edits.with_sections(screen.recipe, SECTIONS, text), note, tall=True), use
    )


def cancel(screen: ProbeScreen) -> None:
    """Stop what runs, keeping it; a replay over the live screen is left."""
    if screen is not screen.app.screen_stack[1]:
        screen.app.pop_screen()
        return
    if screen.bridge is not None and not screen.picture.ended:
        screen.bridge.cancel(screen.run_id)
    screen.query_one("#tokens").focus()


def show_help(screen: ProbeScreen) -> None:
    """Every key that works here, and what the focused panel does."""
    screen.app.push_screen(Help(help_of(screen, NOTES)))
