"""Actions that work on every screen: the number keys, jumping, screenshots, playing a replay.

Knows names, keys and functions of the app.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from textual.binding import Binding

from tui.screens import going, jumping, replaying, taking
from tui.screens.stack import playing

if TYPE_CHECKING:
    from tui.app import DirscopeApp
    from tui.screens.probe import ProbeScreen


SCREENS: Final = Binding.Group("screens ", compact=True)
"""Number keys stand together in the footer."""


@dataclass(frozen=True)
class Everywhere:
    """One thing a user can do on any screen."""

    id: str
    keys: str
    do: Callable[[DirscopeApp], object]
    label: str
    help: str
    footer: bool = False
    player: bool = False
    """Whether it is of a replay."""

    @property
    def binding(self) -> Binding:
        """As Textual wants it."""
        group = SCREENS if self.id.startswith("screen.") else None
        shown = self.footer or group is not None
        action = f"do('{self.id}')"
        return Binding(self.keys, action, self.label, id=self.id, tooltip=self.help, show=shown, group=group)


def _play(do: Callable[[ProbeScreen], object]) -> Callable[[DirscopeApp], object]:
    """A thing to do with the screen that plays."""

    def on_playing(app: DirscopeApp) -> None:
        screen = playing(app)
        if screen is not None:
            do(screen)

    return on_playing


_ALL: Final = (
    Everywhere("screen.probe", "1", going.to_probe, "probe", "The main screen: curves of this prompt and token"),
    Everywhere(
        "screen.experiments",
        "2",
        going.to_experiments,
        "experiments",
        "The last experiment; there, another one",
    ),
    Everywhere("screen.features", "3", going.to_features, "features", "Features of the SAE at this token"),
    Everywhere("screen.steering", "4", going.to_steering, "steering", "The steering lab: what the model writes"),
    Everywhere("screen.sessions", "5,o", going.to_sessions, "sessions", "Sessions: search, preview, open, share"),
    Everywhere("jump", "f2", jumping.jump, "jump", "Letters on every panel: press one to go there"),
    Everywhere("screenshot", "f9", taking.screenshot, "screenshot", "This screen as an SVG into this directory"),
    Everywhere("play.pause", "space", _play(replaying.pause), "play/pause", "Stop the replay, or go on", True, True),
    Everywhere(
        "play.back", "comma", _play(partial(replaying.step, by=-1)), "step back", "One result back", player=True
    ),
    Everywhere(
        "play.step", "full_stop", _play(partial(replaying.step, by=1)), "step", "One result further", True, True
    ),
    Everywhere(
        "play.slower",
        "less_than_sign",
        _play(partial(replaying.faster, factor=0.5)),
        "slower",
        "Half as fast",
        player=True,
    ),
    Everywhere(
        "play.faster",
        "greater_than_sign",
        _play(partial(replaying.faster, factor=2.0)),
        "faster",
        "Twice as fast",
        True,
        True,
    ),
    Everywhere(
        "play.left",
        "left_square_bracket",
        _play(partial(replaying.scrub, share=-0.05)),
        "scrub back",
        "A twentieth of the whole back",
        player=True,
    ),
    Everywhere(
        "play.right",
        "right_square_bracket",
        _play(partial(replaying.scrub, share=0.05)),
        "scrub",
        "A twentieth of the whole further",
        True,
        True,
    ),
    Everywhere(
        "play.run-before",
        "left_curly_bracket",
        _play(partial(replaying.skip, by=-1)),
        "run before",
        "To the start of the run before",
        player=True,
    ),
    Everywhere(
        "play.run-after",
        "right_curly_bracket",
        _play(partial(replaying.skip, by=1)),
        "run after",
        "To the start of the next run",
        player=True,
    ),
    Everywhere("play.branch", "enter,G", _play(replaying.branch), "go on live", "Go on live from this run", True, True),
)
EVERYWHERE: Final = {action.id: action for action in _ALL}
"""By id."""
