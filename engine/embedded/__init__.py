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
"""One sae-lens folder per hook point, named after it."""
SAMPLES_FILE: Final = HERE / "samples.safetensors"
"""`tokens` int16 [n_samples, context]: sequences drawn from the bundled model, BOS first."""
TRAINING_LOG: Final = HERE / "training.jsonl"
"""What the training run printed: one JSON object a line."""
