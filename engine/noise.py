"""The noise floor of a run: how large KL and L2 are between runs that differ by rounding alone.

In bfloat16 every activation is rounded to 8 bits, and two vectors that are rounding neighbours give outputs some 1e-4
nats apart, as far as the first steps of a plateau. The floor is measured at the site: the base against copies of itself
whose coordinates are moved by up to one unit in the last place, the largest of them. Less would round back to the base
or leave the roundings further on as they were; the move itself is worth about a tenth of the floor (measured in
float32). At KL well above the floor the error is a few sqrt(KL x floor), since the same noise adds to a larger
difference there.

Knows hosts and rows; no recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from engine import metrics
from engine.forward import Forward, Hosts
from engine.randomness import stream
from engine.shards import Rule

SAMPLES: Final = 32


@dataclass(frozen=True)
class NoiseFloor:
    """Largest values between runs of the same base."""

    kl: float
    """Nats."""
    l2: Mapping[str, float]
    """At each read hook."""


def noise_floor(forward: Forward, hosts: Hosts, base: Tensor, rule: Rule, seed: int) -> NoiseFloor:
    """Measure the floor at a base [d_hook] (raw, float64 on the CPU) in the first of the hosts' contexts."""
    dtype = forward.model.dtype
    ulp = torch.finfo(dtype).eps * 2.0 ** torch.floor(torch.log2(base.abs().clamp_min(torch.finfo(dtype).tiny)))
    shifts = torch.from_numpy(stream(seed, "noise-floor").uniform(-1, 1, (SAMPLES, len(base))))
    rows = torch.cat([base[None], base + shifts * ulp]).to(dtype).to(forward.model.device)
    output = forward.run(hosts.select(torch.zeros(1, dtype=torch.long, device=rows.device)), rows[None], rule)
    logits = output.logits[0]
    l2 = {
        hook.name: float(
            metrics.l2(
                (basis := forward.model.to_basis(read[0], hook))[0],
                basis[1:],
            ).max()
        )
        for hook, read in zip(forward.reads, output.reads, strict=True)
    }
    return NoiseFloor(float(metrics.kl(logits[0], logits[1:]).max()), l2)
