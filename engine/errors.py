"""Every error a user can cause, as one tree.

    DirscopeError                 exit 1
    ├── RunFailedError            1    a run or one of its expectations failed
    ├── UsageError                2    the command or the recipe is wrong
    │   ├── RunFolderError        2    a run folder is damaged or was written by something else
    │   └── RecipeError           2    a key, a type or a value of a recipe
    │       ├── PromptError       2    what only the tokenizer and the model can tell of a prompt
    │       ├── HookError         2    a hook point that does not exist or comes in the wrong order
    │       └── DirectionError    2    a base or a direction that cannot be drawn
    ├── LoadError                 3    a model or device could not be loaded
    │   └── SaeError              3    an SAE could not be loaded, or is not the right one
    ├── TimeLimitError            4
    ├── OutOfMemoryError          5
    └── InterruptedByUser         130

A message is one or two sentences: what, got, expected, what to try. Knows nothing of where messages are shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Final

from engine.printable import printable

LONGEST: Final = 1000
"""Characters of a message; what is longer quotes somebody who has gone on for too long."""


class DirscopeError(Exception):
    """Base of every error that is reported as a sentence rather than a traceback."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """One line that a terminal only shows, whatever a file or a command put into it."""
        text = printable(" ".join(str(a) for a in self.args))
        if len(text) <= LONGEST:
            return text
        return f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"


class RunFailedError(DirscopeError):
    """A run stopped on an error of its own, or an expectation does not hold."""


class UsageError(DirscopeError):
    """The command line or the recipe is wrong."""

    exit_code = 2


class RunFolderError(UsageError):
    """A run folder lacks a file, or holds one that cannot be read."""


class RecipeError(UsageError):
    """A recipe has an unknown key, a wrong type or a value out of range."""


class PromptError(RecipeError):
    """The prompt is empty, too long, or the position lies outside it."""


class HookError(RecipeError):
    """A hook point does not exist, or a read hook comes before the write hook."""


class DirectionError(RecipeError):
    """A base or direction cannot be drawn, or has no length."""


class LoadError(DirscopeError):
    """A model, tokenizer or device could not be loaded."""

    exit_code = 3


class SaeError(LoadError):
    """An SAE could not be loaded, or does not fit the model and hook."""


class TimeLimitError(DirscopeError):
    """The time limit passed; what was computed is kept."""

    exit_code = 4


class OutOfMemoryError(DirscopeError):
    """The device or the machine ran out of memory."""

    exit_code = 5


class InterruptedByUser(DirscopeError):
    """Stopped by hand; what was computed is kept."""

    exit_code = 130


BY_NAME: dict[str, type[DirscopeError]] = {
    cls.__name__: cls
    for cls in (
        DirscopeError,
        RunFailedError,
        RunFolderError,
        UsageError,
        RecipeError,
        PromptError,
        HookError,
        DirectionError,
        LoadError,
        SaeError,
        TimeLimitError,
        OutOfMemoryError,
        InterruptedByUser,
    )
}
"""For rebuilding an error that crossed the process border as (name, message)."""


def did_you_mean(got: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest valid name, else the list of valid names."""
    names = sorted(valid)
    if not names:
        return "; there is nothing to set here."
    close = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; expected one of {', '.join(names)}."


class Stopped(Exception):
    """A run was cancelled, superseded or ran out of time."""
