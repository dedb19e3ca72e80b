"""The terminal app: one worker, one session, the main screen. Imports no torch.

Knows how the pieces are put together; the screen knows what they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Final

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from engine.client import prepare_spawning
from engine.recipe import Recipe, parse_recipe, with_overrides
from engine.worker import WorkerOptions
from sessions.catalogue import Session, run_folders
from sessions.paths import Places, make_private, places
from sessions.reader import read_run
from tui.actions import ACTIONS
from tui.bridge import Bridge
from tui.edits import as_curves
from tui.player import Player
from tui.screens.probe import ProbeScreen

DEFAULT_PROMPT: Final = "Once upon a time, there was a little girl who"


class DirscopeApp(App[None]):
    """Build one with `fresh`, `opening` or `replaying`."""

    CSS_PATH = "app.tcss"
    TITLE = "dirscope"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", id="quit", tooltip="Quit; everything is saved", priority=True),
    ]

    def __init__(
        self,
        recipe: Recipe,
        session: Session | None,
        where: Places,
        player: Player | None = None,
        opened: Path | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self._player = player
        self.bridge: Bridge | None = None
        if player is None:
            prepare_spawning()  # before Textual takes over stderr, or no process can be spawned
            options = WorkerOptions(cache=where.cache, log=where.log)
            self.bridge = Bridge(self._post_to_probe, options)
        self.probe = ProbeScreen(recipe, self.bridge, session, player, opened)

    @classmethod
    def fresh(cls, overrides: Sequence[str] = ()) -> DirscopeApp:
        """A new session with the default recipe and these overrides.

        Raises:
            RecipeError: An override is wrong.
            UsageError: The sessions directory cannot be made.
        """
        where = places()
        make_private(where.sessions)
        recipe = parse_recipe(with_overrides({"site": {"prompt": DEFAULT_PROMPT}}, overrides))
        return cls(recipe, Session.new(where.sessions, recipe.model.name), where)

    @classmethod
    def opening(cls, folder: Path) -> DirscopeApp:
        """A session or run from disk, its last run shown; new runs join the session.

        Raises:
            RunFolderError: It is neither, or damaged.
        """
        where, runs = places(), run_folders(folder)
        run = read_run(runs[-1])
        session = Session.growing_from(folder, where.sessions)
        return cls(as_curves(run.recipe), session, where, opened=runs[-1])

    @classmethod
    def replaying(cls, folder: Path, speed: float = 1.0) -> DirscopeApp:
        """A run or all runs of a session, played back without a model.

        Raises:
            RunFolderError: It is neither, or damaged.
        """
        player = Player(run_folders(folder), speed)
        return cls(player.recipe, None, places(), player)

    def on_mount(self) -> None:
        self.push_screen(self.probe)
        if self.bridge is not None:
            # After the first frame, so that starting a process does not delay it.
            self.call_after_refresh(self.bridge.start)

    def _post_to_probe(self, message: Message) -> object:
        return self.probe.post_message(message)

    def on_unmount(self) -> None:
        if self.bridge is not None:
            self.bridge.stop()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action of the main screen by name, then Textual's own."""
        if screen is self.probe:
            for action in ACTIONS:
                yield SystemCommand(action.label, action.help, lambda a=action.action: self._run_action(a))
            yield SystemCommand(
                "ascii", "Draw curves without braille, or with it again", self.probe.action_toggle_ascii
            )
        yield from super().get_system_commands(screen)

    def _run_action(self, action: str) -> None:
        self.call_later(self.probe.run_action, action)
