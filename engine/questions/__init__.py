"""What the app asks of the worker beside runs: frozen questions that answer themselves in a laboratory.

A question crosses to the worker, and its answer, a frozen value, comes back; neither is recorded. Adding one is
adding a file. Importing one imports no torch: that happens where it is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.laboratory import Laboratory


class Question(Protocol):
    """Something to be found out at a recipe's site."""

    def answer(self, lab: Laboratory) -> object:
        """Find it out; may take a while, and looks at `lab.checkpoint` meanwhile.

        Raises:
            DirscopeError: It cannot be told, in a sentence.
        """
        ...
