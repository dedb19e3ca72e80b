"""From one screen to another by number keys: what is left keeps what it has, and is come back to.

Knows the app's screens and the order in which they lie; computes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from tui.screens import asking, menus
from tui.screens.guest import GuestScreen
from tui.screens.opening import STEERING
from tui.screens.probe import ProbeScreen

if TYPE_CHECKING:
    from tui.app import DirscopeApp

NO_MODEL = "This is a replay, which has no model: enter goes on live from here."


def _main(app: DirscopeApp) -> ProbeScreen:
    """The main screen, everything above it left; its runs are kept."""
    while app.screen is not app.probe and len(app.screen_stack) > 2:
        leave(app.screen)
        app.pop_screen()
    return app.probe


def leave(screen: Screen[Any]) -> None:
    """What a screen does before it is left by another way than its own."""
    if isinstance(screen, GuestScreen):
        screen.leave(stop=False)


def _place(screen: Screen[Any]) -> str:
    """Which of the screens behind number keys it is."""
    return str(getattr(screen, "place", ""))


def to_probe(app: DirscopeApp) -> None:
    """Curves."""
    _main(app)


def to_experiments(app: DirscopeApp) -> None:
    """The experiment that was left last, as far as it came; where there is none, the list."""
    here = app.screen
    if isinstance(here, GuestScreen) and _place(here) != STEERING:
        if here.host is app.probe:
            menus.pick_experiment(_main(app))  # pressed again: another one
        return
    main = _main(app)
    if main.bridge is None:
        main.complain(NO_MODEL)
        return
    lab = main.left_behind.get("experiment")
    if lab is not None:
        app.push_screen(lab.again())
    else:
        menus.pick_experiment(main)


def to_features(app: DirscopeApp) -> None:
    """The SAE workbench."""
    if _place(app.screen) != "features":
        asking.open_workbench(_main(app))


def to_steering(app: DirscopeApp) -> None:
    """The steering lab."""
    if _place(app.screen) == STEERING:
        return
    main = _main(app)
    if main.bridge is None:
        main.complain(NO_MODEL)
    else:
        menus.open_experiment(main, STEERING)


def to_sessions(app: DirscopeApp) -> None:
    """The browser of sessions."""
    if _place(app.screen) != "sessions":
        from tui.screens.sessions import SessionsScreen

        app.push_screen(SessionsScreen(_main(app)))
