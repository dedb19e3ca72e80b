"""`plateaus`: real and made-up bases, each pushed in random directions.

Real bases keep a flat start that made-up ones lack (Heimersheim & Mendel, "Activation plateaus & sensitive
directions in GPT2", LessWrong 2024). Read it against `model.weights = "reinitialised"`, the null of every plateau
claim.
"""

from engine.experiments import EXPERIMENTS, Experiment, run_rays

EXPERIMENTS.register(
    Experiment(
        name="plateaus",
        summary="real against made-up bases, pushed in random directions",
        run=run_rays,
        default_bases=(
            {"kind": "prompt"},
            {"kind": "real-other", "count": 7},
            {"kind": "random", "count": 8},
        ),
        default_directions=({"kind": "random", "count": 4},),
    )
)
