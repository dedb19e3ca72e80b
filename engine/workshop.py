"""What outlives a run inside one worker: texts, populations, SAEs and token strings, kept by what they depend on.

Knows how long to keep things; knows nothing of experiments.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.dictionaries.firing import Firing, firing
from engine.dictionaries.gate import Fit, fit
from engine.dictionaries.loading import load_sae
from engine.dictionaries.sae import Sae
from engine.drawing import Population
from engine.hooks import HookPoint
from engine.layouts import LayoutBook, all_threads
from engine.models import Model, Report
from engine.recipe import PopulationSection, SaeSection
from engine.site import Site
from engine.statistics import Window, cut_windows, population_index, read_windows, summarise
from engine.texts import BUNDLED_TOKENS, Groups, read_texts
from engine.weights import ModelWeights

V = TypeVar("V")


class _Kept:
    """A small cache that forgets what was used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        if key in self._values:
            self._values.move_to_end(key)
        else:
            self._values[key] = make()
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        value: V = self._values[key]
        return value


def room_for(window: int) -> int:
    """How long texts should be to cut windows from: a third longer, or all windows would be beginnings."""
    return window * 4 // 3


def _both(sae: Sae, population: Population) -> Hashable:
    # The same tensors may be read in another way; and a population's hash is of token ids alone, its typical distance
    # of what a model makes of them at a place.
    return sae.release, sae.sae_id, sae.sha256, population.hash, population.typical_distance


class Workshop:
    """Caches of one worker.

    Args:
        cache: directory for what is worth keeping on disk (samples drawn from a model); None keeps nothing.
        report: called with a line of text while something takes time.
    """

    def __init__(self, cache: Path | None = None, report: Report = lambda text: None) -> None:
        self._cache = cache
        self._report = report
        self._texts = _Kept(2)
        self._populations = _Kept(16)
        self._saes = _Kept(2)
        self._fits = _Kept(16)
        self._firings = _Kept(4)
        self._weights = _Kept(2)
        self._strings = _Kept(50_000)
        self.layouts = LayoutBook()
        self.reading_seconds = 0.0
        """What the last population took."""

    def texts(self, model: Model, section: PopulationSection, longest: int = 0) -> Groups:
        """Token sequences of the population's source, without BOS, to cut windows of up to `longest` tokens from."""
        key = (model.identity, section, longest > BUNDLED_TOKENS)
        return self._texts.get(key, lambda: read_texts(section, model, longest, self._cache, self._report))

    def population(
        self, model: Model, section: PopulationSection, site: Site, pause: Callable[[], None] = lambda: None
    ) -> Population:
        """The population at a site; depends on the prompt only through its length and the dropping of itself.

        Args:
            pause: called often while windows are read; may raise to give up.
        """
        index, warning = population_index(site.position, site.bos)
        window = Window(max(len(site.token_ids), index + 1), model.bos if site.bos else None, index)

        def read() -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
            # One more than asked for, so that dropping the base's own tokens changes one member and not the rest.
            documents = [d for group in self.texts(model, section, room_for(window.n_tokens)) for d in group]
            windows = cut_windows(documents, window, section.n + 1, section.seed)
            began = time.monotonic()
            with all_threads():
                vectors, means = read_windows(model, site.write, windows, index, pause)
            self.reading_seconds = time.monotonic() - began
            return windows, vectors, means

        windows, vectors, means = self._populations.get((model.identity, section, site.write.place, window), read)
        others = (windows[:, : index + 1] != np.array(site.token_ids[: index + 1])).any(axis=1)
        keep = np.flatnonzero(others)[: section.n]
        warnings = (warning,) if warning else ()
        return summarise(vectors[keep], means[keep], windows[keep], index, section.seed, warnings)

    def sae(self, model: Model, section: SaeSection, hook: HookPoint) -> Sae:
        """The SAE for a hook."""
        key = (model.weights_sha256, section.release, section.sae_id, hook.name)
        return self._saes.get(key, lambda: load_sae(section, model, hook, self._report))

    def keep_sae(self, model: Model, section: SaeSection, hook: HookPoint, sae: Sae) -> None:
        """Have an SAE that is in memory be the one of a section and hook."""
        self._saes.get((model.weights_sha256, section.release, section.sae_id, hook.name), lambda: sae)

    def fit(self, sae: Sae, population: Population, pause: Callable[[], None]) -> Fit:
        """How well an SAE rebuilds a population."""
        return self._fits.get(_both(sae, population), lambda: fit(sae, population, pause))

    def firing(self, sae: Sae, population: Population, pause: Callable[[], None]) -> Firing:
        """How often its features fire on a population."""
        return self._firings.get(_both(sae, population), lambda: firing(sae, population, pause))

    def weights(self, model: Model, hook: HookPoint) -> ModelWeights:
        """The model's own weights, seen from a hook."""
        return self._weights.get((model.identity, hook.name), lambda: ModelWeights(model, hook))

    def token_string(self, model: Model, token: int) -> str:
        """The text of one token."""
        return self._strings.get((model.weights_sha256, token), lambda: model.strings([token])[0])
