"""SAE features to keep an eye on, and the prompts they are looked at on; kept with the session."""

from __future__ import annotations

from collections.abc import Sequence

from sessions.catalogue import Session


class WatchList:
    """Features and prompts, in the order in which they were put on."""

    def __init__(self, session: Session | None) -> None:
        self._session = session
        kept = session.recalled("watch") if session is not None else None
        kept = kept if isinstance(kept, dict) else {}
        self.features = [i for i in kept.get("features", []) if isinstance(i, int)]
        self.prompts = [p for p in kept.get("prompts", []) if isinstance(p, str)]

    def toggle(self, feature: int) -> None:
        """Put a feature on, or take it off."""
        if feature in self.features:
            self.features.remove(feature)
        else:
            self.features.append(feature)
        self._keep()

    def look_at(self, prompts: Sequence[str]) -> None:
        """Use these prompts from now on."""
        self.prompts = list(prompts)
        self._keep()

    def _keep(self) -> None:
        if self._session is not None:
            self._session.remember("watch", {"features": self.features, "prompts": self.prompts})
