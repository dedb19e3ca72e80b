"""The `synthetic` experiment against the way of published notebooks: `python -m scripts.experiment_speed`.

Their way: pairs one after the other, all 100 steps of a pair as one batch through the whole model, every hook at every
position cached (transformer-lens' `run_with_cache`). Both take turns on parts of the same recipe in one process, and
KL of the same curves is compared. Ratios carry over between machines, seconds do not.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from engine.crosscheck import boot_bridge
from engine.laboratory import Laboratory
from engine.models import load_model
from engine.quiet import quiet_libraries
from engine.recipe import parse_recipe
from engine.results import BaseResult, CurveResult
from engine.workshop import Workshop

PROMPT = "Once upon a time, there was a little girl who"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", type=int, default=50, help="of a part computed by dirscope, four curves each")
    parser.add_argument("--pairs", type=int, default=8, help="of a part computed the other way")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    quiet_libraries()
    recipe = parse_recipe(
        {
            "experiment": "synthetic",
            "site": {"prompt": PROMPT},
            "bases": [{"kind": "real-other", "count": arguments.bases}],
        }
    )
    model = load_model(recipe.model)
    workshop = Workshop()
    bridge = boot_bridge(model)
    write, read = recipe.site.write, f"blocks.{model.n_layers - 1}.hook_resid_post"

    def ours() -> tuple[float, list[CurveResult], list[BaseResult]]:
        lab = Laboratory(model, recipe, workshop)
        lab.use_threads()
        _ = lab.firing_rates  # read once in an experiment, whatever its size
        began = time.perf_counter()
        events = list(lab.experiment.run(lab))
        seconds = time.perf_counter() - began
        return (
            seconds,
            [e for e in events if isinstance(e, CurveResult)],
            [e for e in events if isinstance(e, BaseResult)],
        )

    def theirs(curves: list[CurveResult], bases: list[BaseResult]) -> tuple[float, float]:
        largest, began = 0.0, time.perf_counter()
        for curve in curves:
            base = bases[curve.summary.base]
            u = torch.from_numpy(curve.direction) / torch.from_numpy(curve.direction).norm()
            offsets = torch.from_numpy(curve.coordinate).float()[:, None] * u
            tokens = model.tensor([base.token_ids]).expand(len(offsets), -1)

            def push(stream: torch.Tensor, hook: object, offsets: torch.Tensor = offsets) -> torch.Tensor:
                stream = stream.clone()
                stream[:, -1] += offsets
                return stream

            with torch.no_grad(), bridge.hooks(fwd_hooks=[(write, push)]):
                logits, cache = bridge.run_with_cache(tokens)
            log_p = logits[:, -1].log_softmax(-1)
            kl = (log_p[:1].exp() * (log_p[:1] - log_p)).sum(-1)
            torch.linalg.vector_norm(cache[read][:, -1] - cache[read][:1, -1], dim=-1)
            largest = max(largest, float((kl.double() - torch.from_numpy(curve.kl)).abs().max()))
        return time.perf_counter() - began, largest

    seconds, curves, bases = ours()  # warms both up
    theirs(curves[:1], bases)
    fast, slow, apart = [], [], 0.0
    for _ in range(arguments.rounds):
        seconds, curves, bases = ours()
        fast.append(seconds / len(curves))
        part = curves[:: max(1, len(curves) // arguments.pairs)][: arguments.pairs]
        seconds, largest = theirs(part, bases)
        slow.append(seconds / len(part))
        apart = max(apart, largest)
    ours_ms, theirs_ms = (1000 * statistics.median(times) for times in (fast, slow))
    steps = recipe.path.steps
    print(
        f"a curve of {steps} steps, drawing its target included, median of {arguments.rounds} rounds, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"dirscope                      {ours_ms:8.1f} ms  {1000 * steps / ours_ms:8,.0f} rows a second")
    print(f"run_with_cache, pair by pair  {theirs_ms:8.1f} ms  {1000 * steps / theirs_ms:8,.0f} rows a second")
    print(f"ratio {theirs_ms / ours_ms:.1f}; largest difference of KL on the same curves {apart:.1e} nats")
    print(f"1000 bases x 4 kinds: {4 * ours_ms:.0f} s against {4 * theirs_ms:.0f} s")


if __name__ == "__main__":
    main()
