"""The tokenizer and the model stage: byte-level BPE, then GPT-2 from scratch, with checkpoints.

Knows rows of token ids and the settings; not the corpus files, the samples or the SAEs.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from engine.embedded.corpus import END_OF_TEXT, Rows, Source, encode, evaluation_rows
from engine.embedded.settings import Log, Settings

CHECKPOINT_SECONDS = 120.0


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


def build_optimisers(model: GPT2LMHeadModel, settings: Settings) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases and norms.

    Muon (Jordan et al. 2024) learns more from each token than AdamW at this size, and the text is what is scarce here;
    its updates are scaled to AdamW's size (Liu et al. 2025, arXiv 2502.16982).
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    inside = {id(p) for p in matrices}
    tables = [p for p in model.parameters() if p.ndim == 2 and id(p) not in inside]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    muon = torch.optim.Muon(
        [{"params": matrices, "peak": settings.matrix_learning_rate}],
        weight_decay=settings.matrix_weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        [
            {"params": tables, "peak": settings.learning_rate, "weight_decay": settings.weight_decay},
            {"params": vectors, "peak": settings.learning_rate, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        fused=True,
    )
    return muon, adamw


def set_dropout(model: GPT2LMHeadModel, share: float) -> None:
    """Dropout on the embeddings and on what each block adds to the residual stream; none inside the attention."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and "attn_dropout" not in name:
            module.p = share


def schedule(step: int, settings: Settings) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine to nothing."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / (settings.steps - settings.warmup_steps)))


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, rows: np.ndarray, device: torch.device) -> float:
    """Mean next-token cross-entropy in nats over rows [n, context], in float32, without dropout."""
    training = model.training
    model.eval()
    losses = [
        model(input_ids=(x := torch.from_numpy(rows[i : i + 64]).to(device)), labels=x).loss.item() * len(x)
        for i in range(0, len(rows), 64)
    ]
    model.train(training)
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
    rows = Rows(streams, settings.seed, bos, settings.context)
    seen = np.stack([row for row, _ in zip(evaluation_rows(streams[0], bos, settings.context), held_out, strict=False)])

    model = build_model(settings, bos).to(device)
    optimisers = build_optimisers(model, settings)
    checkpoint, first = work / "checkpoint.pt", 0
    smooth: float | None = None
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        if state["settings"] != asdict(settings):
            raise SystemExit(f"{checkpoint} is of a run with other settings: give it the same or remove it.")
        model.load_state_dict(state["model"])
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        first, smooth = int(state["step"]), state["smooth"]
        log.write("resumed", step=first)

    def save(step: int) -> None:
        state = {
            "settings": asdict(settings),
            "model": model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "step": step,
            "smooth": smooth,
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)

    # Compiling doubles the speed on CPU; it needs a C++ compiler.
    forward = torch.compile(model) if shutil.which("c++") else model
    model.train()
    started, last_save = time.monotonic(), time.monotonic()
    for step in range(first, settings.steps):
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * schedule(step, settings)
        progress = step / settings.steps
        set_dropout(model, settings.dropout if progress >= settings.dropout_from else 0.0)
        torch.manual_seed(settings.seed + step)  # so that a resumed run drops what an unbroken one would have dropped
        shares = [s.weight + progress * (s.last_weight - s.weight) for s in sources]
        batch = torch.from_numpy(rows.at(step, settings.batch, shares)).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = forward(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            speed = (step + 1 - first) * settings.batch * settings.context / (time.monotonic() - started)
            extra = {}
            if (step + 1) % 500 == 0:
                extra["held_out_loss"] = round(held_out_loss(model, held_out, device), 4)
                # On stories it was trained on: the gap to the line above is what it has learnt by heart.
                extra["seen_loss"] = round(held_out_loss(model, seen, device), 4)
            log.write("train", step=step + 1, of=settings.steps, loss=round(smooth, 4),
                      tokens_per_second=round(speed), **extra)  # fmt: skip
        if time.monotonic() - last_save > CHECKPOINT_SECONDS:
            save(step + 1)
            last_save = time.monotonic()
    model = model.to(device="cpu", dtype=torch.bfloat16).eval()
    model.save_pretrained(out)
    checkpoint.unlink(missing_ok=True)
    set_dropout(model, 0.0)
    return model.float().eval()
