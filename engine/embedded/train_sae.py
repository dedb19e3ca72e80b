"""Train the bundled SAEs: sae-lens' TopK SAE on centred residuals of the bundled model.

Residuals have their mean over d_model removed, which is transformer-lens' processed basis for a LayerNorm model
(`center_writing_weights`). Knows sae-lens' trainer; the tool itself never imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from engine.activations import activations_everywhere
from engine.dictionaries.loading import load_sae
from engine.dictionaries.sae import Sae
from engine.dictionaries.splice import mean_activation, splice
from engine.embedded.settings import SaePlan
from engine.hooks import parse_hook
from engine.models import Model
from engine.recipe import SaeSection

if TYPE_CHECKING:
    from engine.embedded.features import Evidence

BATCH: Final = 1024
LEARNING_RATE: Final = 4e-3
DEAD_AFTER: Final = 40
"""Batches without firing after which a feature is helped back. With 200, so high a learning rate left a tenth dead."""
POOL_BATCHES: Final = 32
"""Activations of this many batches are shuffled together, so that a batch is not of a few texts only."""


def train_sae(
    model: Model,
    rows_at: Callable[[int], NDArray[np.int64]],
    seed: int,
    plan: SaePlan,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Train one SAE and save it as a sae-lens directory with whole metadata."""
    torch.manual_seed(seed)
    metadata = SAEMetadata(
        model_name="embedded",
        hook_name=plan.hook,
        context_size=model.context,
        prepend_bos=True,
        model_from_pretrained_kwargs={"center_writing_weights": True},
    )
    config = TopKTrainingSAEConfig(
        d_in=model.d_model,
        d_sae=plan.width,
        k=plan.k,
        dtype="float32",
        device="cpu",
        metadata=metadata,
        apply_b_dec_to_input=True,
    )
    sae = TopKTrainingSAE(config)

    hook = parse_hook(plan.hook, model.n_layers)

    def batches() -> Iterator[Tensor]:
        pool, step = torch.zeros(0, model.d_model), 0
        while True:
            while len(pool) < POOL_BATCHES * BATCH:
                # Several times as fast in bfloat16, whose noise is far below what an SAE leaves out.
                with torch.autocast(model.device.type, dtype=torch.bfloat16):
                    stream = activations_everywhere(model, hook, torch.from_numpy(rows_at(step))).float()
                pool = torch.cat([pool, model.to_basis(stream[:, 1:], hook).flatten(0, 1)])  # BOS is not learnt
                step += 1
            pool = pool[torch.randperm(len(pool))]
            # Half of the pool goes before it is filled and shuffled again.
            for _ in range(POOL_BATCHES // 2):
                yield pool[:BATCH]
                pool = pool[BATCH:]

    with torch.no_grad():
        sae.b_dec.copy_(next(batches()).mean(0))
    trainer = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=plan.tokens,
        device="cpu",
        autocast=True,
        lr=LEARNING_RATE,
        lr_end=LEARNING_RATE / 20,
        lr_scheduler_name="cosineannealing",
        lr_warm_up_steps=min(200, plan.tokens // BATCH // 10),
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=BATCH,
        dead_feature_window=DEAD_AFTER,
        feature_sampling_window=1000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    say(f"training the SAE {plan.sae_id}: {plan.width} features, {plan.tokens:,} activations")
    trained = SAETrainer(cfg=trainer, sae=sae, data_provider=batches()).fit()
    out.mkdir(parents=True, exist_ok=True)
    trained.save_inference_model(str(out))


def load(model: Model, folder: Path, plan: SaePlan) -> Sae:
    """The finished SAE, loaded as the tool loads it."""
    section = SaeSection(release=str(folder.parent), sae_id=plan.sae_id)
    return load_sae(section, model, parse_hook(plan.hook, model.n_layers), lambda text: None)


def card(
    sae: Sae, model: Model, plan: SaePlan, held_out: NDArray[np.int64], evidence: Evidence, out: Path
) -> dict[str, Any]:
    """What the SAE is worth on held-out stories, written to `card.json`: losses in nats a token.

    Args:
        held_out: rows [n, context] of text that neither the model nor the SAE was trained on.
        evidence: whose firing rates, on text of the model's own, say which features are alive.
    """
    hook = parse_hook(plan.hook, model.n_layers)
    mean = mean_activation(model, hook, held_out, 1)
    texts = [
        t
        for part in np.array_split(held_out, max(1, len(held_out) // 8))
        for t in splice(model, sae, hook, part, 1, mean)
    ]

    def average(name: str) -> float:
        return float(np.mean([getattr(text, name) for text in texts]))

    rates = evidence.rate
    alive = rates > 0
    values: dict[str, Any] = {
        "sae_id": plan.sae_id,
        "hook": plan.hook,
        "architecture": sae.architecture,
        "width": plan.width,
        "k": plan.k,
        "training_activations": plan.tokens,
        "held_out_tokens": sum(text.tokens for text in texts),
        "l0": round(average("l0"), 2),
        "unexplained_variance": round(average("squared_error") / average("squared_distance"), 4),
        "ce_clean": round(average("ce_clean"), 4),
        "ce_spliced": round(average("ce_spliced"), 4),
        "ce_zero": round(average("ce_zero"), 4),
        "ce_mean": round(average("ce_mean"), 4),
        "delta_ce": round(average("delta_ce"), 4),
        "kl": round(average("kl"), 4),
        "alive_share": round(float(alive.mean()), 4),
        "alive_on_tokens": evidence.tokens,
        "firing_rate_quantiles": {
            f"{q:g}": float(f"{np.quantile(rates[alive], q):.3g}") for q in (0.05, 0.25, 0.5, 0.75, 0.95)
        },
        "dense_share": round(float((rates > 0.5).mean()), 4),
    }
    (out / "card.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return values
