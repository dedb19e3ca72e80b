"""Messages that widgets and the bridge post; handlers on the app and its screen own every change of state."""

from __future__ import annotations

from pathlib import Path

from textual.message import Message

from engine.protocol import Answer
from engine.results import Event


class RunEvents(Message):
    """Events of one run, in order; several at once when they come fast."""

    def __init__(self, run_id: int, events: list[Event]) -> None:
        super().__init__()
        self.run_id = run_id
        self.events = events


class RunKept(Message):
    """A run is whole on disk."""

    def __init__(self, run_id: int, folder: Path) -> None:
        super().__init__()
        self.run_id = run_id
        self.folder = folder


class RunFailed(Message):
    """A run ended in an error; what it had computed is kept."""

    def __init__(self, run_id: int, text: str) -> None:
        super().__init__()
        self.run_id = run_id
        self.text = text


class Answered(Message):
    """What came of a question."""

    def __init__(self, ask_id: int, answer: Answer) -> None:
        super().__init__()
        self.ask_id = ask_id
        self.answer = answer


class EngineDied(Message):
    """The worker process ended by itself, or hung.

    Args:
        text: what happened.
        restarted: whether there is another.
        goes_on: whether that one computes what was asked for.
    """

    def __init__(self, text: str, restarted: bool, goes_on: bool = False) -> None:
        super().__init__()
        self.text = text
        self.goes_on = goes_on
        self.title = "the worker was started again" if restarted else "the worker does not start"


class PromptTyped(Message):
    """Another prompt was typed.

    Args:
        done: whether it is meant as it is; else typing only pauses.
    """

    def __init__(self, text: str, done: bool) -> None:
        super().__init__()
        self.text = text
        self.done = done


class PositionPicked(Message):
    """Another token is the base."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.position = position


class KindToggled(Message):
    """A direction kind was ticked or cleared."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


class OptionsWanted(Message):
    """The options of a ticked kind are to be asked for again."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


class MoreKindsWanted(Message):
    """The kinds that the list does not show are to be chosen from."""


class CountChanged(Message):
    """More or fewer directions of a kind are wanted."""

    def __init__(self, kind: str, change: int) -> None:
        super().__init__()
        self.kind = kind
        self.change = change


class FeatureToggled(Message):
    """An SAE feature was ticked or cleared."""

    def __init__(self, feature: int) -> None:
        super().__init__()
        self.feature = feature


class FeatureAsked(Message):
    """The card of an SAE feature is wanted; None where the cursor is on none."""

    def __init__(self, feature: int | None) -> None:
        super().__init__()
        self.feature = feature


class CursorMoved(Message):
    """The plot's cursor is at another step or curve."""

    def __init__(self, steps: int = 0, curves: int = 0) -> None:
        super().__init__()
        self.steps = steps
        self.curves = curves


class Branched(Message):
    """A replay is to go on live from a run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
