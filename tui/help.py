"""The help text: what the focused panel and the screen do, then every key that works here, as it is set.

Made from the bindings in force, so that it cannot drift. Knows bindings; no particular screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from textual.app import SystemCommand
from textual.binding import ActiveBinding, Binding
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from engine.directions import DIRECTIONS

NOTES = """\
## Reading the curves

- **KL** is KL(base run || perturbed run) of the next-token distribution, in nats. Any smooth model is flat near zero:
  read a plateau against the dotted quadratic prediction and against untrained weights (`u`).
- **threshold** is where KL first reaches the level (0.5 nats); curves that never do are *censored*.
- **isotropic** directions are a naive contrast, not a fair baseline. `random` has the mean and covariance of real
  activations.
- The signs of a plateau do not by themselves prove superposition.
"""


def help_of(screen: Screen[Any], notes: str = "") -> str:
    """Markdown for the help screen.

    Args:
        notes: what is to be known beside keys.
    """
    focused = screen.focused
    parts = [focused.HELP if focused is not None else "", getattr(screen, "HELP", None)]
    for title, rows in _tables(screen):
        parts.append(f"## {title}\n\n| key | does |\n|---|---|\n" + "\n".join(rows))
    if notes:
        kinds = "\n".join(f"| `{k.name}` | {k.family} | {k.summary} |" for k in DIRECTIONS.values())
        parts += [f"## Kinds of direction\n\n| kind | family | what |\n|---|---|---|\n{kinds}", notes]
    return "\n\n".join(part for part in parts if part)


def here(screen: Screen[Any]) -> list[ActiveBinding]:
    """Everything with a key that works on a screen as it is focused, once each, the nearest first."""
    seen: set[tuple[DOMNode, str]] = set()
    found = []
    for active in screen.active_bindings.values():
        key = (active.node, active.binding.action)
        if active.enabled and active.binding.tooltip and key not in seen:
            seen.add(key)
            found.append(active)
    return found


def _tables(screen: Screen[Any]) -> Iterator[tuple[str, list[str]]]:
    """By where a key works: rows of a table."""
    places: dict[str, list[str]] = {"Keys of this panel": [], "Keys": [], "Everywhere": []}
    keys: dict[tuple[DOMNode, str], list[str]] = {}
    for active in screen.active_bindings.values():
        shown = screen.app.get_key_display(active.binding)
        keys.setdefault((active.node, active.binding.action), []).append(shown)
    for active in here(screen):
        node = active.node
        place = "Everywhere" if node is screen.app else "Keys" if node is screen else "Keys of this panel"
        names = " ".join(f"`{key}`" for key in dict.fromkeys(keys[(node, active.binding.action)]))
        places[place].append(f"| {names} | {active.binding.tooltip} |")
    places["Everywhere"] += ["| `tab` | Next panel |", "| `^p` | Every command, by name |"]
    yield from ((title, rows) for title, rows in places.items() if rows)


def every_command(screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Everything with a key on a screen, by name: what works as it is focused, then what panels have of their own."""
    seen: set[str] = set()
    for active in here(screen):
        name = active.binding.description or active.binding.id or active.binding.action
        seen.add(active.binding.id or name)
        yield SystemCommand(name, active.binding.tooltip, _runner(active.binding.action, active.node))
    for panel in screen.focus_chain:
        for binding in type(panel).BINDINGS:
            if isinstance(binding, Binding) and binding.tooltip and binding.id and binding.id not in seen:
                seen.add(binding.id)
                title = f"{panel.id or type(panel).__name__}: {binding.description or binding.id}"
                yield SystemCommand(title, binding.tooltip, _runner(binding.action, panel, panel))


def _runner(action: str, node: DOMNode, focus: Widget | None = None) -> Callable[[], None]:
    """What runs an action, once the palette has left."""

    def run() -> None:
        if focus is not None:
            focus.focus()
        node.app.call_later(node.app.run_action, action, node)

    return run
