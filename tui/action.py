"""One thing that a user can do, on whatever has it: its id drives key, footer, palette, help, keymap and docs.

Knows Textual's bindings; not what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from textual.binding import Binding

Owner = TypeVar("Owner")


@dataclass(frozen=True)
class Action(Generic[Owner]):
    """What a key does."""

    id: str
    keys: str
    do: Callable[[Owner], object]
    label: str
    help: str
    footer: bool = False
    when: Literal["always", "live", "replay"] = "always"
    """Where there is a model, or where something plays."""
    at_once: bool = False
    """Whether it is done before the next key is looked at, as what is typed ahead of a slow line goes into a text."""
    group: Binding.Group | None = None
    """With which others it stands in the footer."""

    @property
    def binding(self) -> Binding:
        """As Textual wants it."""
        return Binding(
            self.keys,
            f"do('{self.id}')",
            self.label,
            id=self.id,
            tooltip=self.help,
            show=self.footer or self.group is not None,
            priority=self.at_once,
            group=self.group,
        )
