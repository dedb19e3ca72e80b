"""What a process that computes holds: one model, and what outlives a run. It makes laboratories of recipes.

Knows when a model must be loaded again; knows no pipes and no other processes. Importing it imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.memory import keep_freed_memory, peak_bytes
from engine.protocol import Held
from engine.quiet import quiet_libraries
from engine.recipe import ModelSection, Recipe

if TYPE_CHECKING:
    from engine.crosscheck import SelfCheck
    from engine.laboratory import Laboratory
    from engine.models import Model
    from engine.workshop import Workshop


def prepare_process() -> None:
    """Set what libraries look at when they are imported; call before torch is."""
    quiet_libraries()
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: deterministic matrix products


class Holder:
    """One model at a time.

    Args:
        cache: directory for what is worth keeping on disk; None keeps nothing.
        report: called with a line of text while something takes time.
    """

    def __init__(self, cache: Path | None, report: Callable[[str], None]) -> None:
        self._cache = cache
        self._report = report
        self._loaded: tuple[tuple[ModelSection, int], Model, SelfCheck] | None = None
        self._workshop: Workshop | None = None

    @property
    def model(self) -> Model | None:
        """The model that is held."""
        return None if self._loaded is None else self._loaded[1]

    @property
    def workshop(self) -> Workshop:
        """What outlives a run; imports torch."""
        if self._workshop is None:
            self._report("loading torch")
            import torch

            from engine.workshop import Workshop

            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.set_float32_matmul_precision("highest")  # no TF32: it keeps 10 bits of what float32 keeps 23 of
            self._workshop = Workshop(self._cache, self._report)
        return self._workshop

    def holds(self, section: ModelSection) -> bool:
        """Whether this is the model that is held."""
        return self._loaded is not None and self._loaded[0][0] == section

    @property
    def peak(self) -> int | None:
        """The most memory that was held, bytes; None before there is a model."""
        return None if self._loaded is None else peak_bytes(str(self._loaded[1].device))

    def laboratory(
        self, recipe: Recipe, held: Held, should_stop: Callable[[], bool], live: bool = False
    ) -> tuple[Laboratory, SelfCheck]:
        """A recipe on the bench, with how its model compared with a plain forward pass when it was loaded.

        Raises:
            DirscopeError: The model cannot be loaded, or the recipe does not fit it.
        """
        workshop = self.workshop
        from engine.laboratory import Laboratory

        key = (recipe.model, recipe.seed if recipe.model.weights == "reinitialised" else 0)
        if self._loaded is None or self._loaded[0] != key:
            from engine.crosscheck import self_check
            from engine.models import load_model

            self._loaded = None  # let go of the old model before the new one needs its memory
            model = load_model(recipe.model, recipe.seed, self._report)
            self._loaded = (key, model, check := self_check(model, self._report, self._cache))
            for rule in check.refused:
                workshop.layouts.refuse(model, rule)
        _, model, check = self._loaded
        return Laboratory(model, recipe, workshop, held, should_stop, live), check
