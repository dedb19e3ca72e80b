"""`sensitive-directions`: many real bases, every kind of direction at equal distance.

Directions toward other real activations are claimed to act sooner than covariance-matched random ones (Heimersheim
& Mendel 2024); the mixtures are the fairer baseline of Lee & Heimersheim (arXiv 2410.12555).
"""

from engine.experiments import EXPERIMENTS, Experiment, run_rays

EXPERIMENTS.register(
    Experiment(
        name="sensitive-directions",
        summary="kinds of direction compared from many real bases",
        run=run_rays,
        default_bases=(
            {"kind": "prompt"},
            {"kind": "real-other", "count": 15},
        ),
        default_directions=(
            {"kind": "real-other", "count": 4},
            {"kind": "random", "count": 4},
            {"kind": "real-mixture", "count": 4},
            {"kind": "random-mixture", "count": 4},
            {"kind": "isotropic", "count": 4},
        ),
    )
)
