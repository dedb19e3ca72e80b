"""Every action of the main screen, once: its id drives key, footer, palette, help, keymap and the generated docs.

Another action is one more entry, with a function of the screen. Knows names, keys and functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from tui.action import Action
from tui.screens import asking, changing, keeping, looking, menus, replaying, taking

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen


def _focus(name: str) -> Callable[[ProbeScreen], object]:
    return lambda screen: screen.focus_on(name)


_MAIN: Final[tuple[Action[ProbeScreen], ...]] = (
    Action("help", "question_mark,f1", menus.show_help, "help", "Every key here, and what the panel does", True),
    Action(
        "prompt",
        "p",
        _focus("prompt"),
        "prompt",
        "Type another prompt; enter goes back to the tokens",
        True,
        at_once=True,
    ),
    Action("tokens", "t", _focus("tokens"), "tokens", "Go to the tokens: left and right pick the base"),
    Action("directions", "d", _focus("directions"), "directions", "Go to the list of directions", True),
    Action("plot", "c", _focus("plot"), "cursor", "Go to the plot: arrows move the cursor and pick a curve", True),
    Action(
        "metric", "m", looking.next_metric, "metric", "Show the next of KL, L2, cosine and KL as share of its end", True
    ),
    Action(
        "axis",
        "A",
        looking.next_axis,
        "axis",
        "Next unit of the x axis: L2, typical distance, angle, own length, predicted KL",
        True,
    ),
    Action("path", "s", changing.toggle_path, "sphere", "Straight lines or the sphere of constant norm", True, "live"),
    Action("undo", "z", changing.undo, "undo", "Take back the last change", True, "live"),
    Action("redo", "Z", changing.redo, "redo", "Make the change again that was taken back", when="live"),
    Action("zoom", "0", looking.toggle_zoom, "zoom", "Zoom to three times the threshold level, or out again"),
    Action("split", "S", looking.toggle_split, "multiples", "Small multiples: a plot per kind, or per pinned run"),
    Action("pin", "P", keeping.toggle_pin, "pin", "Keep this run behind the ones to come, or let it go", True),
    Action("unpin", "U", keeping.unpin_all, "unpin all", "Let all pinned runs go"),
    Action("bookmark", "B", keeping.bookmark, "bookmark", "Mark the place under the cursor, with a note"),
    Action("bookmarks", "L", keeping.pick_bookmark, "bookmarks", "Go to a bookmark of this session"),
    Action("write", "w", menus.pick_write, "write", "Pick the hook that is perturbed", when="live"),
    Action("read", "r", menus.pick_read, "read", "Pick the hook where L2 and cosine are read", when="live"),
    Action(
        "layer.down",
        "left_square_bracket",
        partial(changing.shift_layer, by=-1),
        "layer -",
        "Perturb one layer earlier",
        when="live",
    ),
    Action(
        "layer.up",
        "right_square_bracket",
        partial(changing.shift_layer, by=1),
        "layer +",
        "Perturb one layer later",
        when="live",
    ),
    Action("model", "M", menus.ask_model, "model", "Another model: bundled, a directory or a Hub id", when="live"),
    Action(
        "recipe",
        "R",
        menus.edit_recipe,
        "recipe",
        "Edit all that defines the picture as TOML: model, SAE, population, path, metrics",
        when="live",
    ),
    Action("seed", "g", changing.next_seed, "new draw", "Draw other random directions: the next seed", when="live"),
    Action(
        "untrained",
        "u",
        asking.toggle_weights,
        "untrained",
        "The same with untrained weights, or trained again",
        when="live",
    ),
    Action(
        "write-on",
        "x",
        asking.write_on,
        "write on",
        "What the model goes on to write with this direction added",
        when="live",
    ),
    Action(
        "features",
        "f",
        asking.open_workbench,
        "features",
        "The SAE workbench: features of this token, cards, search",
        when="live",
    ),
    Action(
        "experiments",
        "E",
        menus.pick_experiment,
        "experiments",
        "Run an experiment from here: many bases, live",
        when="live",
    ),
    Action(
        "decompose",
        "D",
        asking.decompose_curve,
        "decompose",
        "The direction under the cursor as a sum of SAE features",
        when="live",
    ),
    Action(
        "nulls",
        "a",
        asking.against_nulls,
        "p-value",
        "The threshold under the cursor against 200 nulls of its family",
        when="live",
    ),
    Action(
        "bases", "b", changing.toggle_bases, "N prompts", "From this prompt to eight real texts, or back", when="live"
    ),
    Action("view", "v", looking.toggle_lower, "tables", "Switch the lower panel between kinds and next tokens"),
    Action("ascii", "I", looking.toggle_ascii, "ascii", "Draw without braille and blocks, or with them again"),
    Action("export", "e", menus.export_run, "export", "Write this run as a table or picture into this directory", True),
    Action("copy", "y", taking.copy_from_main, "copy", "Copy numbers, tables, recipe or plot", True),
    Action("replay", "n", replaying.again, "replay", "Play this run again from its start"),
    Action("cancel", "escape", menus.cancel, "cancel", "Stop what runs; go back to the tokens"),
)
ACTIONS: Final[dict[str, Action[ProbeScreen]]] = {action.id: action for action in _MAIN}
"""By id, in the order in which help lists them."""
