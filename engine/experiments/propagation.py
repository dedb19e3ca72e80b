"""`propagation`: how much of a push arrives at every later layer, and what else changes on the way.

L2 at every block's output over the length of the push says where a plateau arises: before the unembedding, or by it.
Beside it the simpler stories about plateaus (comments on Heimersheim & Mendel, "Activation plateaus & sensitive
directions in GPT2", 2024): the margin of the most probable token, the norm that the last normalisation divides by, and
the share of MLP neurons that cross their threshold ("ReLUs require thresholds").
"""

from __future__ import annotations

from engine.experiments import EXPERIMENTS, Experiment, run_rays
from engine.hooks import HOOK_POST, STAGES, HookPoint, default_read


def _reads(write: HookPoint, n_layers: int) -> tuple[str, ...]:
    """Neurons and output of every block that the write can reach."""
    first = write.layer + (write.stage > HOOK_POST)
    neurons = [f"blocks.{i}.{STAGES[HOOK_POST]}" for i in range(first, n_layers)]
    outputs = [default_read(i + 1) for i in range(min(write.layer, n_layers - 1), n_layers)]
    return (*neurons, *outputs)


EXPERIMENTS.register(
    Experiment(
        name="propagation",
        summary="how much of a push arrives at every later layer; neurons that flip, margin, norm",
        run=run_rays,
        default_bases=(
            {"kind": "prompt"},
            {"kind": "real-other", "count": 15},
        ),
        default_directions=({"kind": "random", "count": 2}, {"kind": "real-other", "count": 2}),
        sections={"metrics": {"extra": ["margin", "norm", "flips"]}},
        reads=_reads,
    )
)
