"""The bundled model: where its files lie inside the package.

Knows the layout of the folder only; `engine.embedded.train` makes the files, `engine.models` loads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
MODEL_DIR: Final = HERE / "model"
"""Hugging Face format: config, bf16 weights, byte-level BPE tokenizer."""
SAES_DIR: Final = HERE / "saes"
"""One sae-lens folder per SAE: the hook's name alone for its default SAE, `HOOK.width-N` for others."""
SAMPLES_FILE: Final = HERE / "samples.safetensors"
"""Drawn from the bundled model, BOS first, int16 [n, 64]: `population` and, of a disjoint seed, `evaluation`."""
BUNDLED_SAMPLES: Final = {"bundled": "population", "bundled-evaluation": "evaluation"}
"""What `population.prompts` calls the parts of `SAMPLES_FILE`."""
TRAINING_LOG: Final = HERE / "training.jsonl"
"""What the training run printed: one JSON object a line."""
