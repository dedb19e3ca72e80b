"""Every action of the main screen, once: its id drives key, footer, palette and help.

Knows names and keys; the screen knows what they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from textual.binding import Binding


@dataclass(frozen=True)
class Action:
    """One thing a user can do anywhere on the main screen."""

    id: str
    keys: str
    action: str
    label: str
    help: str
    footer: bool = True

    @property
    def binding(self) -> Binding:
        """As Textual wants it."""
        return Binding(self.keys, self.action, self.label, id=self.id, tooltip=self.help, show=self.footer)


ACTIONS: Final = (
    Action("prompt", "p", "focus_on('prompt')", "prompt", "Type another prompt; enter goes back to the tokens"),
    Action("tokens", "t", "focus_on('tokens')", "tokens", "Go to the tokens: left and right pick the base", False),
    Action("directions", "d", "focus_on('directions')", "directions", "Go to the list of directions"),
    Action("plot", "c", "focus_on('plot')", "cursor", "Go to the plot: arrows move the cursor and pick a curve"),
    Action("metric", "m", "next_metric", "metric", "Show the next of KL, L2, cosine and KL as a share of its end"),
    Action("path", "s", "toggle_path", "sphere", "Switch between straight lines and the sphere of constant norm"),
    Action("zoom", "z", "toggle_zoom", "zoom", "Zoom to three times the threshold level, or out again", False),
    Action("write", "w", "pick_write", "write", "Pick the hook that is perturbed", False),
    Action("read", "r", "pick_read", "read", "Pick the hook where L2 and cosine are read", False),
    Action("layer.down", "left_square_bracket", "shift_layer(-1)", "layer -", "Perturb one layer earlier", False),
    Action("layer.up", "right_square_bracket", "shift_layer(1)", "layer +", "Perturb one layer later", False),
    Action("seed", "g", "next_seed", "new draw", "Draw other random directions: the next seed", False),
    Action(
        "untrained", "u", "toggle_weights", "untrained", "The same with untrained weights, or trained ones again", False
    ),
    Action("write-on", "x", "write_on", "write on", "What the model goes on to write with this direction added"),
    Action("features", "f", "workbench", "features", "The SAE workbench: features of this token, cards, search"),
    Action("experiments", "E", "experiments", "experiments", "Run an experiment from here: many bases, live", True),
    Action(
        "decompose", "D", "decompose", "decompose", "The direction under the cursor as a sum of SAE features", False
    ),
    Action(
        "nulls",
        "a",
        "against_nulls",
        "p-value",
        "The threshold under the cursor against 200 nulls of its family",
        False,
    ),
    Action("bases", "b", "toggle_bases", "N prompts", "From this prompt to eight real texts, or back"),
    Action("view", "v", "toggle_lower", "tables", "Switch the lower panel between kinds and next tokens", False),
    Action("sessions", "o", "sessions", "open", "Open another session", False),
    Action("export", "e", "export", "export", "Write this run as a table or picture into the current directory", False),
    Action("copy", "y", "copy", "copy", "Copy the summary as Markdown to the terminal's clipboard", False),
    Action("replay", "n", "replay_again", "replay", "Play this run again from its start", False),
    Action("cancel", "escape", "cancel", "cancel", "Stop what runs; go back to the tokens", False),
    Action("help", "question_mark,f1", "help", "help", "Show the keys and what the focused panel does"),
)
