"""Texts of a Hub dataset: of its column `text`, or tokenised ones of `input_ids`; kept on disk once they were read.

Streams the split `train`, of which a population needs little. Knows models' tokens; not populations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.errors import LoadError, RecipeError
from engine.models import Model, Report
from engine.stored import keep, stored

ROWS: Final = 5000
MAX_CHARACTERS: Final = 4_000_000
"""Read up to here: enough for any population, and it bounds tokenising time."""
MAX_TOKENS: Final = 1_000_000


def dataset_tokens(name: str, model: Model, cache: Path | None, report: Report) -> list[np.ndarray]:
    """Rows of token ids, without BOS.

    Args:
        name: of a dataset on the Hub.
        model: whose tokens they are.
        cache: where they are kept, so that the dataset is needed once.
        report: called with a line of text while it takes time.

    Raises:
        RecipeError: It has neither column, or its tokens are not this model's.
        LoadError: It cannot be reached.
    """
    identity = f"{name}/{model.tokenizer.name_or_path}/{len(model.tokenizer)}/{ROWS}/{MAX_CHARACTERS}/{MAX_TOKENS}"
    key = hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
    file = None if cache is None else cache / f"dataset-{key}.safetensors"
    held = stored(file, ("tokens", "ends"))
    if held is not None:
        return np.split(held["tokens"], held["ends"][:-1])
    report(f"reading dataset {name}")
    rows = _read(name, model)
    highest = max((int(row.max()) for row in rows if len(row)), default=-1)
    if highest < 0:
        raise RecipeError(f"The dataset '{name}' holds no texts: give another one or a text file.")
    if highest >= model.d_vocab:
        raise RecipeError(
            f"The dataset '{name}' holds token {highest}, but '{model.name}' knows {model.d_vocab}: it was tokenised "
            "for another model. Give one with a column 'text', or a text file."
        )
    keep(file, {"tokens": np.concatenate(rows), "ends": np.cumsum([len(row) for row in rows])})
    return rows


def _read(name: str, model: Model) -> list[np.ndarray]:
    from datasets import load_dataset

    try:
        return _rows(load_dataset(name, split="train", streaming=True).take(ROWS), model)
    except KeyError:
        raise RecipeError(
            f"The dataset '{name}' has neither a column 'text' nor 'input_ids': give a text file instead."
        ) from None
    except Exception as error:
        raise LoadError(
            f"Cannot read the dataset '{name}' ({type(error).__name__}): its split 'train' is read over the network; a "
            "text file works without."
        ) from error


def _rows(rows: Iterable[Mapping[str, Any]], model: Model) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    characters, tokens = MAX_CHARACTERS, MAX_TOKENS
    for row in rows:
        if "input_ids" in row:
            ids = np.array(row["input_ids"], dtype=np.int32)
        else:
            text = str(row["text"]).strip()[:characters]
            characters -= len(text)
            ids = np.array(model.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)
        found.append(ids[:tokens])
        tokens -= len(found[-1])
        if tokens <= 0 or characters <= 0:
            break
    return found
