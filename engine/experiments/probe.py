"""`probe`: one prompt, one position, directions of several kinds; curves of KL, L2 and cosine."""

from engine.experiments import EXPERIMENTS, Experiment, run_rays

EXPERIMENTS.register(
    Experiment(
        name="probe",
        summary="directions of several kinds from the prompt's own activation",
        run=run_rays,
        default_bases=({"kind": "prompt"},),
        default_directions=(
            {"kind": "random", "count": 8},
            {"kind": "real-other", "count": 8},
            {"kind": "isotropic", "count": 8},
        ),
        keeps_tokens=True,
    )
)
