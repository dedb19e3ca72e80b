"""The recipe of the bundled model: every number that shapes it, and the record a training run leaves.

Knows no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SOURCES: Final = {"tinystories_dedup.txt.xz": (0.6, 0.9), "children_classics.txt.xz": (0.4, 0.1)}
"""Share of the rows at the first and at the last step. The story set is small and repeats: children's books come in
early, for a wider vocabulary and fewer repetitions, and give way to the stories that the model shall tell."""


@dataclass(frozen=True)
class SaePlan:
    """One SAE to train on the bundled model."""

    layer: int
    width: int
    tokens: int
    k: int = 32
    default: bool = True
    """Whether it is the one its hook gets when none is named."""

    @property
    def hook(self) -> str:
        return f"blocks.{self.layer}.hook_resid_pre"

    @property
    def sae_id(self) -> str:
        """Its folder below `saes/`."""
        return self.hook if self.default else f"{self.hook}.width-{self.width}"


SAE_PLANS: Final = (
    SaePlan(1, 2048, 5_000_000),
    SaePlan(1, 512, 4_000_000, default=False),
    SaePlan(3, 3072, 7_000_000),
    SaePlan(5, 2048, 5_000_000),
)
"""Early, middle and late; two widths at the early one, so that splitting of features can be looked at."""

EVIDENCE_SAMPLES: Final = 1000
"""Texts as long as the context that feature evidence is taken from; only snippets of them are kept."""


@dataclass(frozen=True)
class Settings:
    """Written into the training log."""

    vocabulary: int = 4096
    layers: int = 6
    d_model: int = 256
    heads: int = 4
    context: int = 256
    batch: int = 32
    tokens: int = 40_000_000
    matrix_learning_rate: float = 3e-3
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    matrix_weight_decay: float = 0.4
    weight_decay: float = 0.1
    dropout: float = 0.15
    dropout_from: float = 0.7158
    """Share of the run after which dropout is on (Liu et al. 2023, arXiv 2303.01500). Before, it would slow learning;
    later, the stories have been seen so often that the model would learn them by heart. Chosen where the held-out loss
    began to rise without it."""
    seed: int = 0
    population_samples: int = 2000
    evaluation_samples: int = 500
    sample_tokens: int = 64

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole run."""
        return self.tokens // (self.batch * self.context)


class Log:
    """Progress for a person on stdout and, as JSON lines, for the record beside the weights."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **fields: Any) -> None:
        line = {"event": event, **fields}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print("  ".join(f"{k}={v}" for k, v in line.items()), flush=True)

    def say(self, text: str) -> None:
        """Progress that the record need not keep."""
        print(text, flush=True)
