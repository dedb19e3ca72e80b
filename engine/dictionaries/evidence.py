"""What is known of a feature without running anything: the evidence that lies beside a bundled SAE.

Knows the file; `engine.embedded.features` makes it. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

EVIDENCE_FILE: Final = "features.safetensors"
ARRAYS: Final = ("rate", "peaks", "snippets", "raised", "lowered")
SNIPPET_BEFORE: Final = 12
TOKENS_LOOKED_AT: Final = 255_000
"""Where a file does not say: the bundled samples, which every one is made from."""
SNIPPET_AFTER: Final = 5


@dataclass(frozen=True)
class Snippet:
    """A place where a feature fires strongly, in text drawn from the model."""

    before: str
    token: str
    """Where it fires."""
    after: str
    activation: float


@dataclass(frozen=True)
class FeatureEvidence:
    """What one feature seems to stand for."""

    rate: float
    """Share of tokens of the model's own text on which it is active."""
    raised: tuple[str, ...]
    """Output tokens it raises most by the direct path, strongest first."""
    lowered: tuple[str, ...]
    """Output tokens it lowers most."""
    snippets: tuple[Snippet, ...]
    """Strongest first; none for a feature that never fired."""


class EvidenceFile:
    """The evidence of one SAE. Use `read_evidence`.

    Args:
        arrays: of the file.
        text: token ids to text.
        tokens: how many were looked at.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], text: Callable[[list[int]], str], tokens: int) -> None:
        self._arrays = arrays
        self._text = text
        self.tokens = tokens
        """Looked at."""

    def of(self, feature: int) -> FeatureEvidence:
        """The evidence of a feature by its index."""
        arrays = self._arrays
        return FeatureEvidence(
            rate=float(arrays["rate"][feature]),
            raised=tuple(self._text([int(t)]) for t in arrays["raised"][feature]),
            lowered=tuple(self._text([int(t)]) for t in arrays["lowered"][feature]),
            snippets=tuple(
                self._snippet(tokens, float(peak))
                for tokens, peak in zip(arrays["snippets"][feature], arrays["peaks"][feature], strict=True)
                if peak > 0
            ),
        )

    def _snippet(self, tokens: np.ndarray, activation: float) -> Snippet:
        def text(part: np.ndarray) -> str:
            return self._text([int(t) for t in part if t >= 0])

        at = SNIPPET_BEFORE
        return Snippet(text(tokens[:at]), text(tokens[at : at + 1]), text(tokens[at + 1 :]), activation)


def read_evidence(
    folder: Path, weights_sha256: str, sae_sha256: str, text: Callable[[list[int]], str]
) -> EvidenceFile | None:
    """The evidence in an SAE's folder; None where there is none, or where it is of another model or SAE.

    An untrained twin has the SAE of the trained model beside it, of whose features it knows nothing.
    """
    try:
        with safe_open(folder / EVIDENCE_FILE, "np") as file:
            about = file.metadata() or {}
            if (about.get("weights_sha256"), about.get("sae_sha256")) != (weights_sha256, sae_sha256):
                return None
            tokens = int(about.get("tokens", TOKENS_LOOKED_AT))
            return EvidenceFile({name: file.get_tensor(name) for name in ARRAYS}, text, tokens)
    except (OSError, SafetensorError):
        return None  # nice to have, and no reason to go without the SAE
