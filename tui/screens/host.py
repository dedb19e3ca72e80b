"""A screen that has the worker's ear: asks questions and runs recipes for the screens on top of it.

Knows the bridge, the session and ids; what answers and events mean is known to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from textual import on
from textual.screen import Screen

from engine.protocol import Answer
from engine.questions import Question
from engine.recipe import Recipe
from engine.results import Event
from sessions.catalogue import Session
from tui.bridge import Bridge
from tui.messages import Answered, EngineDied, RunEvents, RunFailed, RunKept
from tui.screens.dialogs import Reading


class Guest(Protocol):
    """A screen that shows a run of its own."""

    recipe: Recipe
    ended: bool
    """Whether the run is over."""

    def again(self) -> Screen[Any]:
        """The same run once more, as far as it came."""
        ...

    def take(self, event: Event) -> None:
        """One more event of its run."""
        ...

    def kept(self, folder: Path) -> None:
        """The run is whole on disk."""
        ...

    def failed(self, why: str) -> None:
        """The run ended in an error."""
        ...


class HostScreen(Screen[None]):
    """What the main screen does for others.

    Args:
        recipe: what it shows.
        bridge: to the worker; None for a replay, which needs none.
        session: where runs are kept.
    """

    def __init__(self, recipe: Recipe, bridge: Bridge | None, session: Session | None) -> None:
        super().__init__()
        self.recipe = recipe
        self.bridge = bridge
        self.session = session
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        """What is done with the answers to questions, by their ids."""
        self._guest: tuple[int, Guest] | None = None
        self.left_behind: dict[str, Guest] = {}
        """What was left last, by its place, to go on with when it is wanted again."""
        self._leaving: tuple[int, Guest] | None = None
        """A guest that left while its run was under way: it still takes what there was."""
        self.stage: tuple[Path, Guest] | None = None
        """A replayed run of tables, and what it is shown on."""
        self._overtaken = False
        """Whether a guest's run ended this screen's own."""
        self.warned: set[str] = set()
        """What was said aloud once already."""

    @property
    def is_computing(self) -> bool:
        """Whether a run of its own is under way."""
        return False

    @property
    def ascii(self) -> bool:
        """Whether charts do without braille, its own and its guests'."""
        return False

    run_id = 0
    """Of its own run."""

    def start_run(self) -> None:
        """Compute what it shows."""

    def go_on(self) -> None:
        """Compute what is missing of what it shows."""
        self.start_run()

    def complain(self, text: str) -> None:
        """Show an error where it stays."""

    def change(self, edit: Callable[[Recipe], Recipe]) -> None:
        """Change the recipe and compute it."""

    def ask(self, question: Question, then: Callable[[Answer], None], recipe: Recipe | None = None) -> None:
        """Have something found out at the recipe's site; a newer question of the same sort makes an older one moot.

        Args:
            recipe: a guest's, in place of its own.
        """
        if self.bridge is not None:
            self._waiting[self.bridge.ask(recipe or self.recipe, question)] = then

    def answer_in(self, dialog: Reading, question: Question) -> None:
        """Show a dialog that waits for the answer to a question."""
        self.app.push_screen(dialog)
        self.ask(question, dialog.fill)

    def run_for(self, guest: Guest, recipe: Recipe, stopped: Path | None = None) -> None:
        """Compute a recipe into the session, or go on with a stopped run; its events go to the guest.

        Ends whatever runs. What a run has is kept, its own or a guest's, whatever ends it.
        """
        if self.bridge is not None and self.session is not None:
            if self.is_computing:
                self._overtaken = True
                self.bridge.cancel(self.run_id)
            if self._guest is not None and self._guest[1] is not guest:
                self._leaving = self._guest
            self._guest = self.bridge.run(recipe, self.session, keep=True, stopped=stopped), guest

    def stop_guest(self) -> None:
        """Stop the guest's run, keeping what it has."""
        if self.bridge is not None and self._guest is not None:
            self.bridge.cancel(self._guest[0])

    def say_goodbye(self) -> None:
        """The guest has left: its run is stopped, keeping what it has."""
        self.stop_guest()
        self._leaving, self._guest = self._guest, None

    def remember(self, guest: Guest, place: str) -> None:
        """A guest that can be come back to."""
        self.left_behind[place] = guest

    def runs(self, guest: Guest) -> bool:
        """Whether a guest's run is under way, be it on the screen or not."""
        return self._guest is not None and self._guest[1] is guest and not guest.ended

    def hand_over(self, old: Guest, new: Guest) -> None:
        """What comes of a run goes to another screen from here on."""
        if self._guest is not None and self._guest[1] is old:
            self._guest = self._guest[0], new

    def _of(self, run_id: int) -> Guest | None:
        """Whose run it is, whether here or just left."""
        return next((g[1] for g in (self._guest, self._leaving) if g is not None and g[0] == run_id), None)

    def on_screen_resume(self) -> None:
        """Back from a guest whose run ended ours: go on with what is shown here, once the worker has nothing to do."""
        if self._overtaken and (self._guest is None or self._guest[1].ended):
            self._overtaken = False
            self.go_on()

    @on(Answered)
    def _on_answered(self, message: Answered) -> None:
        then = self._waiting.pop(message.ask_id, None)
        if then is not None:
            then(message.answer)

    @on(RunEvents)
    def _on_guest_events(self, message: RunEvents) -> None:
        guest = self._of(message.run_id)
        if guest is not None:
            for event in message.events:
                guest.take(event)

    @on(RunKept)
    def _on_guest_kept(self, message: RunKept) -> None:
        guest = self._of(message.run_id)
        if guest is not None:
            guest.kept(message.folder)
            self._worker_is_free()

    @on(RunFailed)
    def _on_guest_failed(self, message: RunFailed) -> None:
        if self._guest is not None and message.run_id == self._guest[0]:
            self._guest[1].failed(message.text)
            self._worker_is_free()

    def _worker_is_free(self) -> None:
        if self.is_current:
            self.on_screen_resume()

    @on(EngineDied)
    def _on_death(self, message: EngineDied) -> None:
        if self._guest is not None and not self._guest[1].ended and not message.goes_on:
            self._guest[1].failed(message.text)
