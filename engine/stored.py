"""Arrays that took long to compute, kept in a cache file: used where they are whole, computed again where not.

Knows files of arrays; not what they mean.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engine.durable import make_private, replacing
from engine.errors import UsageError


def stored(file: Path | None, names: Sequence[str]) -> dict[str, NDArray[Any]] | None:
    """The arrays of a cache file; None where there is none, or a damaged one, or one without these names."""
    if file is None:
        return None
    try:
        found: dict[str, NDArray[Any]] = load_file(file)
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    return found if set(names) <= found.keys() else None


def keep(file: Path | None, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a cache file; a full disk costs some time when they are asked for again."""
    if file is None:
        return
    with contextlib.suppress(OSError, SafetensorError, UsageError):
        make_private(file.parent)
        with replacing(file, synced=False) as part:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)
