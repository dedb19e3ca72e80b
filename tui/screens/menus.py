"""What the main screen asks in a dialog: hooks, steering prompts, export formats, sessions.

Each function opens a dialog over a screen and hands the answer back to it. Knows dialogs and files of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.directions import DIRECTIONS
from engine.errors import DirscopeError
from engine.experiments import EXPERIMENTS
from engine.hooks import hook_names
from engine.recipe import Recipe
from sessions.catalogue import Session, entries, run_folders
from sessions.export import FORMATS, Part, export, markdown
from sessions.kinds import USUAL
from sessions.paths import places
from sessions.reader import read_run
from tui import edits
from tui.messages import KindToggled
from tui.player import Player
from tui.screens.dialogs import Choose, EditText, TwoPrompts
from tui.screens.guest import GuestScreen
from tui.screens.opening import screen_of
from tui.screens.running import as_text, session_of, unused
from tui.screens.showing import play_again, show_stored
from tui.screens.steering import SteeringScreen
from tui.widgets.direction_list import kinds_in_order

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen


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
    if screen.player is not None:
        screen.change(lambda recipe: recipe)  # says why not
        return
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
    if screen.bridge is None:
        screen.complain("This is a replay, which has no model: open its session with dirscope SESSION to experiment.")
        return

    def use(name: str | None) -> None:
        if name is None:
            return
        try:
            recipe = edits.experiment_at(screen.recipe, name)
        except DirscopeError as error:
            screen.complain(str(error))
            return
        screen.app.push_screen(_left_behind(screen, recipe) or screen_of(screen, recipe))

    labels = [(e.name, f"{e.name:<21}{e.summary}") for e in EXPERIMENTS.values() if e.name != "probe"]
    screen.app.push_screen(Choose("experiment on this prompt, token and hook", sorted(labels), wide=True), use)


def _left_behind(screen: ProbeScreen, recipe: Recipe) -> GuestScreen | None:
    """The lab of this experiment at this very place that was left before; composed vectors and all."""
    lab = screen.left_behind
    if not isinstance(lab, SteeringScreen) or lab.recipe.experiment != recipe.experiment:
        return None
    same = all(getattr(lab.recipe, name) == getattr(recipe, name) for name in ("model", "population", "sae", "seed"))
    where = all(getattr(lab.recipe.site, n) == getattr(recipe.site, n) for n in ("prompt", "position", "write", "bos"))
    return lab.again() if same and where else None


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
                screen.app.copy_to_clipboard(file.read_text(encoding="utf-8"))
        except DirscopeError as error:
            screen.complain(str(error))
        else:
            screen.notify(str(file), title="exported", markup=False)

    said = {"py": "py   the curve under the cursor as transformer-lens code, copied too"}
    screen.app.push_screen(Choose("export this run as", [(f, said.get(f, f)) for f in FORMATS]), use)


def copy_summary(screen: ProbeScreen) -> None:
    """Send the run's summary to the terminal's clipboard."""
    folder = screen.whole_run("copied")
    if folder is None:
        return
    try:
        text = markdown(read_run(folder))
    except DirscopeError as error:
        screen.complain(str(error))
    else:
        screen.app.copy_to_clipboard(text)
        screen.notify("The summary was sent to the terminal's clipboard (OSC 52).", title="copied")


def pick_session(screen: ProbeScreen) -> None:
    """Ask which session to open."""
    if screen.player is not None:
        screen.complain("This is a replay: quit it to open a session.")
        return
    found = entries(places().sessions)
    if not found:
        screen.complain("There are no sessions yet: this one is the first.")
        return
    labels = [(str(e.folder), f"{e.changed:%m-%d %H:%M}  {e.runs:>3} runs  {e.prompt[:40]}") for e in found]

    def use(folder: str | None) -> None:
        if folder is not None:
            open_session(screen, Path(folder))

    screen.app.push_screen(Choose("open a session (its last run is shown; new runs join it)", labels), use)


def open_session(screen: ProbeScreen, folder: Path) -> None:
    """Show the last run of a session; what is computed from here on joins it."""
    try:
        runs = run_folders(folder)
    except DirscopeError as error:
        screen.complain(str(error))
        return
    if screen.bridge is not None:
        screen.bridge.cancel(screen.run_id)
    screen.run_id = 0
    screen.session = Session.growing_from(folder, places().sessions)
    show_stored(screen, runs[-1])


def replay_run(screen: ProbeScreen) -> None:
    """Play the run on the screen again; it is on disk, so no model is needed."""
    if screen.player is not None:
        play_again(screen)
        return
    folder = screen.whole_run("replayed")
    if folder is None:
        return
    try:
        player = Player([folder])
    except DirscopeError as error:
        screen.complain(str(error))
    else:
        screen.app.push_screen(type(screen)(screen.recipe, None, None, player))
