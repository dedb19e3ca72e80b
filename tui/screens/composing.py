"""How vectors come into a steering run, and out of it: dialogs that compose, tick features, fetch and save.

Each function asks over the steering screen and hands the answer back to it. Knows dialogs and the library.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.errors import DirscopeError
from engine.printable import printable
from engine.questions.steered import PairFeatures
from engine.recipe import Recipe
from engine.steering.interchange import read_vectors
from sessions import saved_vectors
from sessions.paths import places
from sessions.reader import read_run
from sessions.steering_pictures import letter_of
from tui import edits, steer_edits
from tui.screens import running
from tui.screens.dialogs import AskLine, Choose, TwoPrompts
from tui.screens.ticking import TickFeatures

if TYPE_CHECKING:
    from tui.screens.steering import SteeringScreen

WAYS: Final = (
    ("contrast", "contrast        plus prompt minus minus prompt; several of a side with | between"),
    ("tokens", "token by token  this contrast, shorter prompts padded with spaces, added from the front"),
    ("rebuilt", "as the SAE      this contrast as the SAE rebuilds it"),
    ("features", "some features   of this contrast, each times its difference of activations"),
    ("without", "without some    this vector with features projected out"),
    ("sum", "sum             this vector plus another times a weight"),
    ("saved", "saved           from the library of vectors"),
    ("file", "file            .safetensors of dirscope, or a GGUF control vector"),
    ("toml", "anything        edit all vectors as TOML: lists of prompts, tokens, other kinds"),
)


def compose(screen: SteeringScreen) -> None:
    """Ask how a vector is made, then for what it is made of."""

    def use(way: str | None) -> None:
        at = screen.selected_table
        match way:
            case "contrast":
                _contrast(screen, at)
            case "tokens":
                screen.become(lambda recipe: steer_edits.by_token(recipe, at))
            case "rebuilt":
                screen.become(lambda recipe: steer_edits.with_vector(recipe, steer_edits.rebuilt(recipe, at)))
            case "features":
                _ticked(screen, at, "features to add up", steer_edits.of_features)
            case "without":
                _ticked(screen, at, "features to project out", steer_edits.projected)
            case "sum":
                _sum(screen, at)
            case "saved":
                _saved(screen)
            case "file":
                _file(screen)
            case "toml":
                running.edit(screen, screen.recipe, screen.rerun)

    screen.app.push_screen(Choose("one more vector", WAYS, wide=True), use)


def _contrast(screen: SteeringScreen, at: int) -> None:
    def use(prompts: tuple[str, str] | None) -> None:
        if prompts is not None:
            screen.become(lambda recipe: steer_edits.with_vector(recipe, steer_edits.contrast(*prompts)))

    pair = steer_edits.pair_of(screen.recipe, at) or {}
    plus, minus = (pair.get(side, "") for side in ("plus", "minus"))
    start = (side if isinstance(side, str) else f" {steer_edits.BETWEEN} ".join(side) for side in (plus, minus))
    screen.app.push_screen(TwoPrompts(*start), use)


def _ticked(
    screen: SteeringScreen, at: int, title: str, make: Callable[[Recipe, int, Collection[int]], dict[str, Any]]
) -> None:
    if screen.host is None:
        return

    def use(features: frozenset[int] | None) -> None:
        if features is not None:
            screen.become(lambda recipe: steer_edits.with_vector(recipe, make(recipe, at, features)))

    dialog = TickFeatures(title)
    screen.app.push_screen(dialog, use)
    screen.host.ask(PairFeatures(at), dialog.fill, screen.recipe)


def _sum(screen: SteeringScreen, at: int) -> None:
    tables = edits.direction_data(screen.recipe)
    others = [i for i in range(len(tables)) if i != at]
    if not others:
        screen.notify("A sum needs a second vector in this run: add one first.", severity="warning")
        return

    def weigh(chosen: str | None) -> None:
        if chosen is None:
            return

        def use(text: str | None) -> None:
            if text is None:
                return
            try:
                weight = float(text)
            except ValueError:
                screen.notify(f"A weight is a number; got {text!r}.", severity="error", markup=False)
                return
            screen.become(
                lambda recipe: steer_edits.with_vector(recipe, steer_edits.summed(recipe, at, int(chosen), weight))
            )

        screen.app.push_screen(AskLine("weight of the second vector", "1.0"), use)

    by_number = steer_edits.tables_by_number(screen.recipe)
    labels = {by_number[i]: f"{letter_of(i)} {printable(str(rows[0]['label']))}" for i, rows in screen.vectors.items()}
    options = [(str(i), labels.get(i, str(tables[i]["kind"]))) for i in others]
    screen.app.push_screen(Choose("add which vector", options, wide=True), weigh)


def _saved(screen: SteeringScreen) -> None:
    kept = places().vectors
    names = saved_vectors.names(kept)
    if not names:
        screen.notify("The library is empty: s saves a vector of a run.", severity="warning")
        return

    def use(name: str | None) -> None:
        if name is not None:
            screen.become(
                lambda recipe: steer_edits.with_vector(
                    recipe, saved_vectors.as_direction(name, saved_vectors.load(kept, name))
                )
            )

    screen.app.push_screen(Choose("a vector of the library", [(name, name) for name in names]), use)


def _file(screen: SteeringScreen) -> None:
    def use(text: str | None) -> None:
        if text:
            path = Path(text).expanduser()

            def edit(recipe: Recipe) -> Recipe:
                vectors = read_vectors(path)
                if vectors is None:
                    return steer_edits.with_vector(recipe, {"kind": "file", "path": str(path)})
                return steer_edits.with_vector(recipe, saved_vectors.as_direction(path.stem, vectors))

            screen.become(edit)

    screen.app.push_screen(AskLine("file of a vector (.safetensors or .gguf)", ""), use)


def save(screen: SteeringScreen) -> None:
    """Keep the chosen vector in the library."""
    folder, chosen = screen.folder, screen.chosen
    if folder is None or chosen is None:
        screen.notify("A vector is saved once the run is whole.", severity="warning")
        return

    def use(name: str | None) -> None:
        if not name:
            return
        try:
            file = saved_vectors.save(places().vectors, name.strip(), saved_vectors.of_run(read_run(folder), chosen[0]))
        except DirscopeError as error:
            screen.notify(str(error), severity="error", markup=False)
        else:
            screen.notify(str(file), title="saved to the library", markup=False)

    screen.app.push_screen(AskLine("name of the vector in the library", ""), use)
