"""Where the population's texts come from: the bundled samples, samples of the model itself, a file or a dataset.

Gives token sequences without BOS. Knows tokenizers and text sources; does not know hooks or activations.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine.embedded import BUNDLED_SAMPLES, MODEL_DIR, SAMPLES_FILE
from engine.errors import RecipeError
from engine.hub_texts import MAX_CHARACTERS, dataset_tokens
from engine.models import Model, Report
from engine.recipe import PopulationSection
from engine.sampling import sample_rows
from engine.stored import keep, stored

Sequences = list[NDArray[np.int32]]
Groups = list[Sequences]
"""Documents that stood behind each other: those of one sampled row, which may be cut off at both ends, or of a file."""

SAMPLES: Final = 500
SAMPLES_AT_ONCE: Final = 100
SAMPLE_TOKENS: Final = 256
BUNDLED_TOKENS: Final = 64
"""Of a row of the bundled samples, BOS included."""
SEPARATOR: Final = "<|endoftext|>"


def read_texts(section: PopulationSection, model: Model, longest: int, cache: Path | None, report: Report) -> Groups:
    """Token sequences of the population's source.

    Args:
        section: which source.
        model: whose tokens they are.
        longest: tokens of the windows that will be cut; longer ones than the bundled samples hold are cut from longer
            samples of the same model.
        cache: where samples are kept.
        report: called with a line of text while it takes time.

    Raises:
        RecipeError: The source is neither a keyword, nor a readable file, nor a dataset.
        LoadError: A dataset cannot be reached.
    """
    source, seed = resolved_source(section, model, longest)
    if source in BUNDLED_SAMPLES:
        return _bundled(model, BUNDLED_SAMPLES[source])
    if source == "samples":
        return _samples(model, seed, cache, report)
    path = Path(source).expanduser()
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"Cannot read the population's text file {path}: {error}.") from None
        return [_tokenised(text.split(SEPARATOR), model)]
    if source.startswith((".", "/", "~")) or source.endswith(".txt"):
        raise RecipeError(f"There is no text file {source}: population.prompts takes a file, 'bundled' or 'samples'.")
    return _split(dataset_tokens(source, model, cache, report), *_separators(model))


def resolved_source(section: PopulationSection, model: Model, longest: int) -> tuple[str, int]:
    """Source and seed of texts that windows of `longest` tokens are cut from.

    The bundled samples are short; in their place longer ones of the same model are drawn, the two parts kept apart by
    their seeds.
    """
    source = section.prompts
    if source in BUNDLED_SAMPLES and model.name == "embedded" and longest > BUNDLED_TOKENS:
        return "samples", section.seed + list(BUNDLED_SAMPLES).index(source)
    return source, section.seed


def _bundled(model: Model, part: str) -> Groups:
    rows = load_file(SAMPLES_FILE)[part].astype(np.int32)
    if model.name == "embedded":
        return _split(rows[:, 1:], *_separators(model))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    groups = _split(rows[:, 1:], tokenizer.bos_token_id)
    return [_tokenised([tokenizer.decode(document) for document in group], model) for group in groups]


def _separators(model: Model) -> list[int]:
    """Ids that end or begin a document."""
    ids = (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id)
    return [int(i) for i in ids if i is not None]


def _split(rows: Iterable[NDArray[np.int32]], *separators: int) -> Groups:
    """Cut sampled rows at separators, so that no window of a population runs from one document into the next."""
    groups: Groups = []
    for row in rows:
        edges = [-1, *np.flatnonzero(np.isin(row, separators)), len(row)]
        groups.append([row[a + 1 : b] for a, b in itertools.pairwise(edges)])
    return groups


def joined(groups: Groups, separator: int | None) -> Sequences:
    """Each group as one text again, the separator between its documents."""
    between = np.array([] if separator is None else [separator], dtype=np.int32)
    texts: Sequences = []
    for group in groups:
        parts = [part for document in group for part in (between, document)]
        texts.append(np.concatenate(parts[1:]) if parts else between)
    return texts


def _tokenised(documents: list[str], model: Model) -> Sequences:
    sequences: Sequences = []
    left = MAX_CHARACTERS
    for document in documents:
        text = document.strip()[:left]
        left -= len(text)
        if text:
            sequences.append(np.array(model.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32))
    return sequences


def _samples(model: Model, seed: int, cache: Path | None, report: Report) -> Groups:
    length = min(SAMPLE_TOKENS, model.context)
    identity = f"{model.weights_sha256}/{seed}/{model.dtype}/{length}"
    key = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
    file = None if cache is None else cache / f"samples-{key}.safetensors"
    held = stored(file, ("tokens",))
    if held is not None:
        return _split(held["tokens"], *_separators(model))
    start = model.bos if model.bos is not None else int(model.tokenizer.eos_token_id or 0)
    tokens = sample_rows(
        model.network, start, SAMPLES, length, seed, SAMPLES_AT_ONCE,
        lambda done: report(f"sampling the population: {done} of {SAMPLES} texts"),
    )[:, 1:]  # fmt: skip
    keep(file, {"tokens": tokens})
    return _split(tokens, *_separators(model))
