"""Make the bundled model again from a corpus: `python -m engine.embedded.train --corpus DIR`.

Stages, each leaving its files in `--out` and skipped when they are there: tokenizer, model, samples, then for each
SAE its weights, its card and its feature evidence. The model stage saves a checkpoint every two minutes and goes on
from it. The tool itself never imports this module.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from engine.embedded import HERE
from engine.embedded.corpus import Rows, Source, encode, evaluation_rows, read_source
from engine.embedded.sample import VERBATIM_TOKENS, draw, verbatim_share
from engine.embedded.settings import EVIDENCE_SAMPLES, SAE_PLANS, SOURCES, Log, Settings
from engine.embedded.train_model import held_out_loss, train_model, train_tokenizer
from engine.models import load_model
from engine.quiet import quiet_libraries
from engine.recipe import ModelSection

EVALUATION_SEED, EVIDENCE_SEED, SAE_SEED = 1, 2, 3
"""Added to the run's seed; the population has the seed itself."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the bundled model and its SAEs.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder with " + ", ".join(SOURCES))
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go (default: the package)")
    parser.add_argument("--tokens", type=int, default=Settings.tokens, help="training tokens")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    arguments = parser.parse_args(argv)
    settings = Settings(tokens=arguments.tokens, seed=arguments.seed)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / "training.jsonl")
    sources = [read_source(arguments.corpus / name, *weights) for name, weights in SOURCES.items()]
    tokenizer, model = _model(sources, settings, out, log)
    if not (out / "samples.safetensors").exists():
        parts = {
            "population": (settings.population_samples, settings.seed),
            "evaluation": (settings.evaluation_samples, settings.seed + EVALUATION_SEED),
        }
        length = settings.sample_tokens
        drawn = {name: draw(model, n, length, seed, log.say) for name, (n, seed) in parts.items()}
        save_file(drawn, out / "samples.safetensors")
        bpe, bos = tokenizer.backend_tokenizer, int(tokenizer.bos_token_id)
        copied = verbatim_share(np.concatenate(list(drawn.values())), [encode(s.train, bpe, bos) for s in sources])
        shapes = {name: list(rows.shape) for name, rows in drawn.items()}
        log.write("samples", **shapes, verbatim_tokens=VERBATIM_TOKENS, verbatim_share=round(copied, 5))
    _saes(sources, tokenizer, model, settings, out, log)


def _judge(
    source: Source, tokenizer: PreTrainedTokenizerFast, model: GPT2LMHeadModel, settings: Settings, log: Log
) -> None:
    """Log the losses of the stored weights, which are what users get."""
    bpe, bos = tokenizer.backend_tokenizer, int(tokenizer.bos_token_id)
    stream = encode(source.held_out, bpe, bos)
    rows = np.stack(list(evaluation_rows(stream, bos, settings.context)))
    loss = held_out_loss(model, rows, model.device)
    seen = np.stack(list(evaluation_rows(encode(source.train, bpe, bos), bos, settings.context))[: len(rows)])
    n_bytes = sum(len(document.encode("utf-8")) for document in source.held_out)
    log.write(
        "model",
        parameters=model.num_parameters(),
        held_out_loss=round(loss, 4),
        held_out_loss_per_byte=round(loss * len(stream) / n_bytes, 4),
        held_out_tokens=rows.shape[0] * (rows.shape[1] - 1),
        seen_loss=round(held_out_loss(model, seen, model.device), 4),
    )


def _model(
    sources: Sequence[Source], settings: Settings, out: Path, log: Log
) -> tuple[PreTrainedTokenizerFast, GPT2LMHeadModel]:
    folder, work = out / "model", out / "training"
    for place in (folder, work):
        place.mkdir(exist_ok=True)
    if (folder / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    else:
        tokenizer = train_tokenizer(sources, settings, folder)
    if (folder / "model.safetensors").exists():
        return tokenizer, GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    log.write("settings", **asdict(settings), sources=SOURCES, torch=torch.__version__)
    model = train_model(sources, tokenizer, settings, folder, work, log)
    _judge(sources[0], tokenizer, model, settings, log)
    return tokenizer, model


def _saes(
    sources: Sequence[Source],
    tokenizer: PreTrainedTokenizerFast,
    model: GPT2LMHeadModel,
    settings: Settings,
    out: Path,
    log: Log,
) -> None:
    quiet_libraries()
    from engine.embedded.features import gather, save_evidence
    from engine.embedded.train_sae import card, load, train_sae

    missing = [plan for plan in SAE_PLANS if not (out / "saes" / plan.sae_id / "features.safetensors").exists()]
    if not missing:
        return
    bpe, bos = tokenizer.backend_tokenizer, int(tokenizer.bos_token_id)
    rows = Rows(tuple(encode(s.train, bpe, bos) for s in sources), settings.seed + SAE_SEED, bos, settings.context)
    shares = [s.last_weight for s in sources]
    held_out = np.stack(list(evaluation_rows(encode(sources[0].held_out, bpe, bos), bos, settings.context)))
    own = draw(model, EVIDENCE_SAMPLES, settings.context, settings.seed + EVIDENCE_SEED, log.say)
    tool = load_model(ModelSection(name=str(out / "model"), device="cpu"))
    for plan in missing:
        folder = out / "saes" / plan.sae_id
        if not (folder / "cfg.json").exists():
            train_sae(tool, lambda step: rows.at(step, 64, shares), rows.seed, plan, folder, log.say)
        sae = load(tool, folder, plan)
        evidence = gather(sae, tool, plan, own.astype(np.int64), log.say)
        log.write("sae", **card(sae, tool, plan, held_out, evidence, folder))
        save_evidence(evidence, sae, tool, folder)


if __name__ == "__main__":
    main()
