"""Random numbers: one counter-based stream per (seed, name, indices).

Asking for more draws keeps the earlier ones, and a draw does not depend on what else a run contains.
Knows nothing of what the numbers are used for.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, name: str, *indices: int) -> np.random.Generator:
    """A Philox generator keyed by the 128-bit BLAKE2 digest of the seed, the name and the indices."""
    label = "/".join([str(seed), name, *map(str, indices)])
    digest = hashlib.blake2b(label.encode("utf-8"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
