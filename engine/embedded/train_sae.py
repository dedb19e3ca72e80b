"""Train the bundled SAE: sae-lens' TopK SAE on centred residuals of the bundled model.

Residuals have their mean over d_model removed, which is transformer-lens' processed basis for a LayerNorm model
(`center_writing_weights`). Knows sae-lens' trainer; the tool itself never imports this module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from engine.embedded.corpus import Rows

WIDTH: Final = 1536
K: Final = 32
BATCH: Final = 2048
TOKENS: Final = 4_000_000
LEARNING_RATE: Final = 1e-3


class _Stop(Exception):
    """Ends a forward pass at the block whose input was wanted."""


@torch.no_grad()
def _residuals(model: GPT2LMHeadModel, rows: np.ndarray, layer: int) -> Tensor:
    """Centred residuals before a block, BOS left out: [n_tokens, d_model]."""
    found: list[Tensor] = []

    def take(module: Any, args: tuple[Any, ...]) -> None:
        found.append(args[0][:, 1:])
        raise _Stop

    handle = model.transformer.h[layer].register_forward_pre_hook(take)
    try:
        with contextlib.suppress(_Stop):
            model.transformer(input_ids=torch.from_numpy(rows), use_cache=False)
    finally:
        handle.remove()
    flat = found[0].reshape(-1, found[0].shape[-1])
    return flat - flat.mean(-1, keepdim=True)


def train_sae(
    model: GPT2LMHeadModel,
    rows: Rows,
    held_out: np.ndarray,
    layer: int,
    out: Path,
    log: Callable[..., None],
) -> None:
    """Train and save one SAE; logs its L0, unexplained variance, dead share and the loss it costs when spliced in."""
    from engine.quiet import quiet_libraries

    quiet_libraries()
    from sae_lens import SAE, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(rows.seed)
    hook = f"blocks.{layer}.hook_resid_pre"
    d_model = int(model.config.n_embd)
    metadata = SAEMetadata(
        model_name="embedded",
        hook_name=hook,
        context_size=rows.context,
        prepend_bos=True,
        model_from_pretrained_kwargs={"center_writing_weights": True},
    )
    config = TopKTrainingSAEConfig(
        d_in=d_model, d_sae=WIDTH, k=K, dtype="float32", device="cpu", metadata=metadata, apply_b_dec_to_input=True
    )
    sae = TopKTrainingSAE(config)

    def batches() -> Iterator[Tensor]:
        # A shuffled pool, so that a batch does not hold neighbours of one text only.
        pool, step = torch.zeros(0, d_model), 0
        while True:
            while len(pool) < 8 * BATCH:
                pool = torch.cat([pool, _residuals(model, rows.at(step, 64), layer)])
                step += 1
            pool = pool[torch.randperm(len(pool))]
            yield pool[:BATCH]
            pool = pool[BATCH:]

    with torch.no_grad():
        sae.b_dec.copy_(torch.cat([next(batches()) for _ in range(2)]).mean(0))
    trainer_config = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=TOKENS,
        device="cpu",
        autocast=False,
        lr=LEARNING_RATE,
        lr_end=LEARNING_RATE / 20,
        lr_scheduler_name="cosineannealing",
        lr_warm_up_steps=200,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=BATCH,
        dead_feature_window=500,
        feature_sampling_window=1000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trained = SAETrainer(cfg=trainer_config, sae=sae, data_provider=batches()).fit()
    out.mkdir(parents=True, exist_ok=True)
    trained.save_inference_model(str(out))
    log("sae", **evaluate(SAE.load_from_disk(str(out)), model, held_out, layer))


@torch.no_grad()
def evaluate(sae: Any, model: GPT2LMHeadModel, held_out: np.ndarray, layer: int) -> dict[str, Any]:
    """Quality on held-out rows: delta CE is the change of next-token loss when SAE(x) replaces x (nats)."""
    x = _residuals(model, held_out, layer)
    f = sae.encode(x)
    unexplained = ((x - sae.decode(f)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()

    def splice(module: Any, args: tuple[Any, ...]) -> Any:
        stream = args[0]
        mean = stream.mean(-1, keepdim=True)
        spliced = sae(stream - mean) + mean
        # BOS was not trained on.
        return (torch.cat([stream[:, :1], spliced[:, 1:]], dim=1), *args[1:])

    ids = torch.from_numpy(held_out)
    clean = model(input_ids=ids, labels=ids).loss.item()
    handle = model.transformer.h[layer].register_forward_pre_hook(splice)
    try:
        spliced = model(input_ids=ids, labels=ids).loss.item()
    finally:
        handle.remove()
    return {
        "hook": f"blocks.{layer}.hook_resid_pre",
        "width": int(sae.cfg.d_sae),
        "l0": round(float((f > 0).sum(-1).double().mean()), 2),
        "unexplained_variance": round(float(unexplained), 4),
        "dead_share": round(float(((f > 0).sum(0) == 0).double().mean()), 4),
        "delta_ce": round(spliced - clean, 4),
    }
