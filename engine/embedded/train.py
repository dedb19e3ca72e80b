"""Make the bundled model again from a corpus: `python -m engine.embedded.train --corpus DIR`.

Four stages, each leaving its files in `--out` and skipped when they are there: tokenizer, model, samples, SAE.
The model stage saves a checkpoint every few minutes and goes on from it. Knows the recipe of the bundled model;
the tool itself never imports this module.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.numpy import save_file as save_numpy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from engine.embedded import HERE
from engine.embedded.corpus import END_OF_TEXT, Rows, Source, encode, evaluation_rows, read_source

SOURCE_WEIGHTS: Final = {"tinystories_dedup.txt.xz": 0.8, "children_classics.txt.xz": 0.2}
"""Mostly simple stories; some children's books for a wider vocabulary and less repetition of the small story set."""


@dataclass(frozen=True)
class Settings:
    """Every number that shapes the bundled model; written into the training log."""

    vocabulary: int = 4096
    layers: int = 6
    d_model: int = 192
    heads: int = 6
    context: int = 128
    batch: int = 32
    tokens: int = 20_000_000
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    seed: int = 0
    samples: int = 2000
    sae_hook_layer: int = 1

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole run."""
        return self.tokens // (self.batch * self.context)


class Log:
    """Progress for a person on stdout and, as JSON lines, for the record beside the weights."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: str, **fields: Any) -> None:
        line = {"event": event, **fields}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print("  ".join(f"{k}={v}" for k, v in line.items()), flush=True)


def train_tokenizer(sources: Sequence[Source], settings: Settings, out: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE with one special token, GPT-2's `<|endoftext|>`, which is BOS and EOS."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The story set decides the vocabulary: equal shares of text, not of files.
    budget = sum(len(d) for d in sources[0].train)
    texts: list[str] = []
    for source in sources:
        limit = budget * source.weight / sources[0].weight
        for document in source.train:
            if limit <= 0:
                break
            texts.append(document[: int(limit)])
            limit -= len(document)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=settings.context,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(out)
    return tokenizer


def build_model(settings: Settings, bos: int) -> GPT2LMHeadModel:
    """A fresh GPT-2 of the bundled size, seeded."""
    torch.manual_seed(settings.seed)
    config = GPT2Config(
        vocab_size=settings.vocabulary,
        n_positions=settings.context,
        n_embd=settings.d_model,
        n_layer=settings.layers,
        n_head=settings.heads,
        bos_token_id=bos,
        eos_token_id=bos,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        # On CPU the backward pass of fused attention is twice as slow at this size.
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, rows: np.ndarray, device: torch.device) -> float:
    """Mean next-token cross-entropy in nats over rows [n, context], in float32."""
    model.eval()
    losses = [
        model(input_ids=(x := torch.from_numpy(rows[i : i + 64]).to(device)), labels=x).loss.item() * len(x)
        for i in range(0, len(rows), 64)
    ]
    model.train()
    return float(sum(losses) / len(rows))


def train_model(
    sources: Sequence[Source], tokenizer: PreTrainedTokenizerFast, settings: Settings, out: Path, work: Path, log: Log
) -> GPT2LMHeadModel:
    """Train, checkpointing into `work`; write bf16 weights to `out`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bpe, bos = tokenizer.backend_tokenizer, int(tokenizer.bos_token_id)
    streams = tuple(encode(s.train, bpe, bos) for s in sources)
    held_out = np.stack(list(evaluation_rows(encode(sources[0].held_out, bpe, bos), bos, settings.context)))
    log.write("data", train_tokens={s.name: len(t) for s, t in zip(sources, streams, strict=True)},
              held_out_rows=len(held_out))  # fmt: skip
    rows = Rows(streams, tuple(s.weight for s in sources), bos, settings.context, settings.seed)

    model = build_model(settings, bos).to(device)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)
    checkpoint, first = work / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
        log.write("resumed", step=first)

    def save(step: int) -> None:
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)

    model.train()
    started, last_save, smooth = time.monotonic(), time.monotonic(), None
    for step in range(first, settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings)
        batch = torch.from_numpy(rows.at(step, settings.batch)).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            speed = (step + 1 - first) * settings.batch * settings.context / (time.monotonic() - started)
            extra = {}
            if (step + 1) % 500 == 0 or step + 1 == settings.steps:
                extra["held_out_loss"] = round(held_out_loss(model, held_out, device), 4)
            log.write("train", step=step + 1, of=settings.steps, loss=round(smooth, 4),
                      tokens_per_second=round(speed), **extra)  # fmt: skip
        if time.monotonic() - last_save > 120:
            save(step + 1)
            last_save = time.monotonic()
    model = model.to(device="cpu", dtype=torch.bfloat16).eval()
    model.save_pretrained(out)
    # What users get is the rounded model, so that is the loss to quote.
    log.write("model", parameters=model.num_parameters(),
              held_out_loss=round(held_out_loss(model.float(), held_out, torch.device("cpu")), 4))  # fmt: skip
    checkpoint.unlink(missing_ok=True)
    return model.eval()


@torch.no_grad()
def draw_samples(model: GPT2LMHeadModel, settings: Settings, out: Path, log: Log) -> None:
    """Sequences drawn from the model itself at temperature 1: the bundled population, which needs no corpus."""
    torch.manual_seed(settings.seed)
    bos = int(model.config.bos_token_id)
    parts = []
    for start in range(0, settings.samples, 250):
        prompt = torch.full((min(250, settings.samples - start), 1), bos)
        drawn = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            top_k=0,
            max_length=settings.context,
            # The separator does not end a row: rows run on into the next story, as the training rows do.
            eos_token_id=None,
            pad_token_id=bos,
        )
        parts.append(drawn.numpy().astype(np.int16))
        log.write("samples", drawn=start + len(prompt), of=settings.samples)
    save_numpy({"tokens": np.concatenate(parts)}, out / "samples.safetensors")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the bundled model, its samples and its SAE.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder with " + ", ".join(SOURCE_WEIGHTS))
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go (default: the package)")
    parser.add_argument("--tokens", type=int, default=Settings.tokens, help="training tokens")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    arguments = parser.parse_args(argv)
    settings = Settings(tokens=arguments.tokens, seed=arguments.seed)
    out: Path = arguments.out
    model_dir, work = out / "model", out / "training"
    for folder in (model_dir, work):
        folder.mkdir(parents=True, exist_ok=True)
    log = Log(out / "training.jsonl")
    log.write("settings", **asdict(settings), torch=torch.__version__)

    sources = [read_source(arguments.corpus / name, weight) for name, weight in SOURCE_WEIGHTS.items()]
    if (model_dir / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(model_dir)
    else:
        tokenizer = train_tokenizer(sources, settings, model_dir)
    if (model_dir / "model.safetensors").exists():
        model = GPT2LMHeadModel.from_pretrained(model_dir, dtype=torch.float32).eval()
    else:
        model = train_model(sources, tokenizer, settings, model_dir, work, log)
    if not (out / "samples.safetensors").exists():
        draw_samples(model, settings, out, log)

    from engine.embedded.train_sae import train_sae

    hook = f"blocks.{settings.sae_hook_layer}.hook_resid_pre"
    if not (out / "saes" / hook / "cfg.json").exists():
        bos = int(tokenizer.bos_token_id)
        streams = tuple(encode(s.train, tokenizer.backend_tokenizer, bos) for s in sources)
        rows = Rows(streams, tuple(s.weight for s in sources), bos, settings.context, settings.seed + 1)
        held_out = encode(sources[0].held_out, tokenizer.backend_tokenizer, bos)
        evaluation = np.stack(list(evaluation_rows(held_out, bos, settings.context)))
        train_sae(model, rows, evaluation, settings.sae_hook_layer, out / "saes" / hook, log.write)


if __name__ == "__main__":
    main()
