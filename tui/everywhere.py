"""Actions that work on every screen: the number keys, jumping, screenshots, playing a replay.

Knows names, keys and functions of the app.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from textual.binding import Binding

from tui.action import Action
from tui.screens import going, jumping, replaying, taking
from tui.screens.stack import playing

if TYPE_CHECKING:
    from tui.app import DirscopeApp
    from tui.screens.probe import ProbeScreen


SCREENS: Final = Binding.Group("screens ", compact=True)
"""Number keys stand together in the footer."""


def _play(do: Callable[[ProbeScreen], object]) -> Callable[[DirscopeApp], object]:
    """A thing to do with the screen that plays."""

    def on_playing(app: DirscopeApp) -> None:
        screen = playing(app)
        if screen is not None:
            do(screen)

    return on_playing


_ALL: Final[tuple[Action[DirscopeApp], ...]] = (
    Action(
        "screen.probe", "1", going.to_probe, "probe", "The main screen: curves of this prompt and token", group=SCREENS
    ),
    Action(
        "screen.experiments",
        "2",
        going.to_experiments,
        "experiments",
        "The last experiment; there, another one",
        group=SCREENS,
    ),
    Action("screen.features", "3", going.to_features, "features", "Features of the SAE at this token", group=SCREENS),
    Action(
        "screen.steering", "4", going.to_steering, "steering", "The steering lab: what the model writes", group=SCREENS
    ),
    Action(
        "screen.sessions", "5,o", going.to_sessions, "sessions", "Sessions: search, preview, open, share", group=SCREENS
    ),
    Action("jump", "f2", jumping.jump, "jump", "Letters on every panel: press one to go there"),
    Action("screenshot", "f9", taking.screenshot, "screenshot", "This screen as an SVG into this directory"),
    Action("play.pause", "space", _play(replaying.pause), "play/pause", "Stop the replay, or go on", True, "replay"),
    Action("play.back", "comma", _play(partial(replaying.step, by=-1)), "step back", "One result back", when="replay"),
    Action(
        "play.step", "full_stop", _play(partial(replaying.step, by=1)), "step", "One result further", True, "replay"
    ),
    Action(
        "play.slower",
        "less_than_sign",
        _play(partial(replaying.faster, factor=0.5)),
        "slower",
        "Half as fast",
        when="replay",
    ),
    Action(
        "play.faster",
        "greater_than_sign",
        _play(partial(replaying.faster, factor=2.0)),
        "faster",
        "Twice as fast",
        True,
        "replay",
    ),
    Action(
        "play.left",
        "left_square_bracket",
        _play(partial(replaying.scrub, share=-0.05)),
        "scrub back",
        "A twentieth of the whole back",
        when="replay",
    ),
    Action(
        "play.right",
        "right_square_bracket",
        _play(partial(replaying.scrub, share=0.05)),
        "scrub",
        "A twentieth of the whole further",
        True,
        "replay",
    ),
    Action(
        "play.run-before",
        "left_curly_bracket",
        _play(partial(replaying.skip, by=-1)),
        "run before",
        "To the start of the run before",
        when="replay",
    ),
    Action(
        "play.run-after",
        "right_curly_bracket",
        _play(partial(replaying.skip, by=1)),
        "run after",
        "To the start of the next run",
        when="replay",
    ),
    Action("play.branch", "enter,G", _play(replaying.branch), "go on live", "Go on live from this run", True, "replay"),
)
EVERYWHERE: Final[dict[str, Action[DirscopeApp]]] = {action.id: action for action in _ALL}
"""By id."""
