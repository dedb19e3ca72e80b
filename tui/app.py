"""The terminal app: one worker, one session, the main screen. Imports no torch.

Knows how the pieces are put together; the screen knows what they do.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import ModalScreen, Screen

from engine.client import AnyWorker, prepare_spawning
from engine.durable import make_private
from engine.errors import UsageError, did_you_mean
from engine.recipe import Recipe, parse_recipe, with_overrides
from engine.worker import WorkerOptions
from sessions.catalogue import Session, run_folders, whole_of
from sessions.config import Config
from sessions.paths import Places, places
from sessions.reader import read_run
from tui import departing, hints
from tui.bridge import Bridge
from tui.edits import as_curves
from tui.everywhere import EVERYWHERE
from tui.help import every_command
from tui.ink import Ascii, Harmless, Legible
from tui.messages import Branched
from tui.player import Player
from tui.screens import going
from tui.screens.probe import ProbeScreen
from tui.screens.showing import show_stored
from tui.screens.stack import playing

SWITCH_SECONDS: Final = 0.0005
"""How long a thread keeps the interpreter while another wants it."""
DEFAULT_PROMPT: Final = "Once upon a time, there was a little girl who"


class DirscopeApp(App[None]):
    """Build one with `fresh`, `opening` or `replaying`."""

    CSS_PATH = "app.tcss"
    TITLE = "dirscope"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "quit", id="quit", tooltip="Quit; everything is saved", priority=True, show=False),
        *(action.binding for action in EVERYWHERE.values()),
    ]

    def __init__(
        self,
        recipe: Recipe,
        session: Session | None,
        where: Places,
        player: Player | None = None,
        opened: Path | None = None,
        config: Config | None = None,
        worker: AnyWorker | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        config = config or Config()
        self.clipboard_way = config.clipboard
        self.theme = checked_theme(config.theme, self.available_themes)
        if config.keys:
            from tui.keys import keymap  # knows every screen, which the first frame does not need

            self.set_keymap(keymap(config.keys))
        self.hints = hints.Hints(where.state, config.hints)
        self._options = WorkerOptions(
            cache=where.cache, log=where.log, patience=config.patience, cluster=config.cluster
        )
        self._sessions = where.sessions
        prepare_spawning()  # before Textual takes over stderr, or no process can be spawned
        self.bridge: Bridge | None = None
        if player is None:
            self.bridge = Bridge(self._post_to_probe, self._options, worker)
        self.probe = ProbeScreen(recipe, self.bridge, session, player, opened)
        if config.ascii:
            self.probe.view = replace(self.probe.view, ascii=True)
        self._harmless, self._legible, self._ascii = Harmless(), Legible(), Ascii()

    @classmethod
    def fresh(
        cls, overrides: Sequence[str] = (), config: Config | None = None, worker: AnyWorker | None = None
    ) -> DirscopeApp:
        """A new session with the default recipe and these overrides.

        Args:
            worker: one that was started already, to be ready sooner.

        Raises:
            RecipeError: An override is wrong.
            UsageError: The sessions directory cannot be made.
        """
        where = places()
        make_private(where.sessions)
        recipe = parse_recipe(with_overrides({"site": {"prompt": DEFAULT_PROMPT}}, overrides))
        return cls(recipe, Session.new(where.sessions, recipe.model.name), where, config=config, worker=worker)

    @classmethod
    def opening(cls, folder: Path, config: Config | None = None, worker: AnyWorker | None = None) -> DirscopeApp:
        """A session or run from disk, its last run shown; new runs join the session.

        Raises:
            RunFolderError: It is neither, or damaged.
        """
        where, runs = places(), run_folders(folder)
        run = read_run(runs[-1])
        session = Session.growing_from(folder, where.sessions)
        return cls(as_curves(run.recipe), session, where, opened=runs[-1], config=config, worker=worker)

    @classmethod
    def replaying(cls, folder: Path, speed: float = 1.0, config: Config | None = None) -> DirscopeApp:
        """A run or all runs of a session, played back without a model.

        Raises:
            RunFolderError: It is neither, or damaged.
        """
        player = Player(run_folders(folder), speed)
        return cls(player.recipe, None, places(), player, config=config)

    def on_mount(self) -> None:
        self.push_screen(self.probe)
        departing.watch(self)
        # The event loop competes with two threads, of recording and drawing: it is to wait for neither.
        sys.setswitchinterval(SWITCH_SECONDS)
        self.call_after_refresh(_collect_again)
        if self.bridge is not None:
            # After the first frame, so that starting a process does not delay it.
            self.call_after_refresh(self.bridge.start)

    def _post_to_probe(self, message: Message) -> object:
        return self.probe.post_message(message)

    def on_unmount(self) -> None:
        if self.bridge is not None:
            self.bridge.stop()

    def go_live(self, folder: Path) -> None:
        """From a replay into a live run: the run is shown whole, and what is changed from here on is computed."""
        if self.bridge is not None:  # the replay lies over the live screen
            going.to_probe(self)
            self.probe.drop_run()
            show_stored(self.probe, folder)
            return
        self.bridge = Bridge(self._post_to_probe, self._options)
        session = Session.growing_from(whole_of(folder), self._sessions)
        before = self.probe
        while len(self.screen_stack) > 2:
            self.pop_screen()
        self.probe = ProbeScreen(as_curves(read_run(folder).recipe), self.bridge, session, None, folder)
        self.probe.view, self.probe.pins = before.view, before.pins
        self.switch_screen(self.probe)
        self.bridge.start()

    @on(Branched)
    def _on_branched(self, message: Branched) -> None:
        self.go_live(message.folder)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What is done to every line before the terminal has it."""
        found = [*super().get_line_filters(), self._harmless]
        if not self.current_theme.dark and not self.no_color:
            found.append(self._legible)
        if self.probe.ascii:
            found.append(self._ascii)
        return found

    # What the user does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Playing is on offer where something plays."""
        if action != "do" or not parameters or str(parameters[0]) not in EVERYWHERE:
            return True
        if EVERYWHERE[str(parameters[0])].when == "replay":
            return playing(self) is not None
        return not isinstance(self.screen, ModalScreen)

    def action_do(self, id: str) -> None:
        """Do what an action of `EVERYWHERE` says."""
        EVERYWHERE[id].do(self)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key on this screen, by name, then Textual's own."""
        yield from every_command(screen)
        yield from super().get_system_commands(screen)


def _collect_again() -> None:
    """What was imported stays to the end: garbage collection passes it over, and pauses the event loop less."""
    gc.freeze()
    gc.enable()


def checked_theme(name: str, themes: Mapping[str, object]) -> str:
    """The theme itself.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in themes:
        raise UsageError(f"Unknown theme '{name}'{did_you_mean(name, themes)}")
    return name
