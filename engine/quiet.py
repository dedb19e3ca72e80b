"""Keeps libraries from phoning home, drawing progress bars, forking or spinning. Call before importing them.

transformer-lens and sae-lens import wandb and opentelemetry; Hugging Face draws bars on a terminal that a text
interface may own.
"""

from __future__ import annotations

import os
import warnings


def quiet_libraries() -> None:
    """Set the environment the libraries look at; leaves anything the user has set."""
    for key, value in {
        "WANDB_MODE": "disabled",
        "WANDB_SILENT": "true",
        "OTEL_SDK_DISABLED": "true",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        # OpenMP threads wait for each other by spinning, some milliseconds by default. Beside other jobs a spinning
        # thread takes the core that the thread it waits for needs; not spinning at all makes small products half as
        # fast. This is some 30 microseconds: as fast as spinning on an idle machine, faster than both on a busy one.
        "GOMP_SPINCOUNT": "10000",
    }.items():
        os.environ.setdefault(key, value)
    warnings.filterwarnings("ignore", module=r"(transformer_lens|sae_lens|transformers|torch|datasets|wandb)(\..*)?")
