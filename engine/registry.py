"""A registry of kinds: one kind per module of a package, found by importing the package's modules.

Adding a kind is adding a file that registers one. Knows nothing of what a kind does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from engine.errors import RecipeError, did_you_mean


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


K = TypeVar("K", bound=Named)


class Registry(Generic[K], Mapping[str, K]):
    """Kinds by name, filled on first use."""

    def __init__(self, what: str, package: ModuleType | str) -> None:
        self._what = what
        self._package = package
        self._kinds: dict[str, K] = {}
        self._complete = False

    def register(self, kind: K) -> K:
        """Add a kind; a second one of the same name is a programming error."""
        if kind.name in self._kinds:
            raise ValueError(f"two kinds of {self._what} are called '{kind.name}'")
        self._kinds[kind.name] = kind
        return kind

    def _fill(self) -> dict[str, K]:
        if not self._complete:
            package = importlib.import_module(self._package) if isinstance(self._package, str) else self._package
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
            self._complete = True
        return self._kinds

    def __getitem__(self, name: str) -> K:
        kinds = self._fill()
        if name not in kinds:
            raise RecipeError(f"Unknown {self._what} '{name}'{did_you_mean(name, kinds)}")
        return kinds[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fill()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fill())

    def __len__(self) -> int:
        return len(self._fill())
