"""The help text: what the focused panel does, then every key. Made from the actions, so that it cannot drift."""

from __future__ import annotations

from textual.widget import Widget

from engine.directions import DIRECTIONS
from tui.actions import ACTIONS

NOTES = """\
## Reading the curves

- **KL** is KL(base run || perturbed run) of the next-token distribution, in nats. Any smooth model is flat near zero:
  read a plateau against the dotted quadratic prediction and against `--set model.weights=reinitialised`.
- **threshold** is where KL first reaches the level (0.5 nats); curves that never do are *censored*.
- **isotropic** directions are a naive contrast, not a fair baseline. `random` has the mean and covariance of real
  activations.
- The signs of a plateau do not by themselves prove superposition.
"""


def help_text(focused: Widget | None) -> str:
    """Markdown for the help screen."""
    panel = f"{focused.HELP}\n" if focused is not None and focused.HELP else ""
    keys = "\n".join(f"| `{_shown(a.keys)}` | {a.help} |" for a in ACTIONS)
    kinds = "\n".join(f"| `{k.name}` | {k.family} | {k.summary} |" for k in DIRECTIONS.values())
    general = "| `tab` | Next panel |\n| `ctrl+p` | Every command, by name |\n| `ctrl+q` | Quit; everything is saved |"
    sections = [
        panel,
        f"## Keys\n\n| key | does |\n|---|---|\n{keys}\n{general}",
        f"## Kinds of direction\n\n| kind | family | what |\n|---|---|---|\n{kinds}",
        NOTES,
    ]
    return "\n\n".join(filter(None, sections))


def _shown(keys: str) -> str:
    names = {"left_square_bracket": "[", "right_square_bracket": "]", "question_mark": "?"}
    return " ".join(names.get(key, key) for key in keys.split(","))
