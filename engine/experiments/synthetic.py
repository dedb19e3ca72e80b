"""`synthetic`: real bases pushed toward real, random and made-up activations; where does the output move fastest?

After "Evaluating synthetic activations composed of SAE latents in GPT-2" (LASR Labs 2024): 1000 bases, 100 steps up to
the typical distance between two real activations (50 on GPT-2 small), max-slope steps compared between kinds of target.
Real targets are said to act soonest, random ones latest, bags of latents in between, and structured bags closer to real
ones than plain bags are. Further rungs (`synthetic-pairwise`, `synthetic-cooccurring`, `real-other-sae`) say which
property closes the gap.
"""

from engine.experiments import EXPERIMENTS, Experiment, always, run_rays

EXPERIMENTS.register(
    Experiment(
        name="synthetic",
        summary="toward real, random and synthetic activations: where the output moves fastest",
        run=run_rays,
        default_bases=({"kind": "real-other", "count": 1000},),
        default_directions=(
            {"kind": "real-other", "count": 1},
            {"kind": "random", "count": 1},
            {"kind": "synthetic-baseline", "count": 1},
            {"kind": "synthetic-structured", "count": 1},
        ),
        sections={"path": {"stop": "typical"}},
        needs_sae=always,
    )
)
