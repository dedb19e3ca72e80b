"""Training text for the bundled model: reading it, holding some of it out, cutting it into rows.

Knows files of documents separated by a line `<|endoftext|>`. Does not know the model.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

END_OF_TEXT: Final = "<|endoftext|>"
HELD_OUT_SHARE: Final = 0.02

Tokens = NDArray[np.uint16]


@dataclass(frozen=True)
class Source:
    """One corpus file, split for good by the hash of each document's text."""

    name: str
    weight: float
    """Share of training rows cut from this file at the first step."""
    last_weight: float
    """The share at the last step; in between it changes linearly."""
    train: tuple[str, ...]
    held_out: tuple[str, ...]


def read_source(path: Path, weight: float, last_weight: float) -> Source:
    """Read one `.txt` or `.txt.xz` file of documents separated by `<|endoftext|>` lines."""
    raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    documents = [d.strip() for d in raw.decode("utf-8").split(END_OF_TEXT)]
    train: list[str] = []
    held_out: list[str] = []
    for document in filter(None, documents):
        (held_out if _is_held_out(document) else train).append(document)
    return Source(path.name.split(".")[0], weight, last_weight, tuple(train), tuple(held_out))


def _is_held_out(document: str) -> bool:
    digest = hashlib.blake2b(document.encode("utf-8"), digest_size=4).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**32


def encode(documents: Sequence[str], tokenizer: Tokenizer, separator: int) -> Tokens:
    """All documents as one stream, each followed by the separator id."""
    pieces: list[Tokens] = []
    for start in range(0, len(documents), 256):
        for encoding in tokenizer.encode_batch_fast(list(documents[start : start + 256]), add_special_tokens=False):
            pieces.append(np.array([*encoding.ids, separator], dtype=np.uint16))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint16)


@dataclass(frozen=True)
class Rows:
    """Draws training rows from token streams; every row starts with BOS, like every prompt the tool feeds.

    The rows of step k depend on (seed, k, shares) alone, so a resumed run sees what an unbroken one would have seen.
    """

    streams: tuple[Tokens, ...]
    seed: int
    bos: int
    context: int

    def at(self, step: int, batch: int, shares: Sequence[float]) -> NDArray[np.int64]:
        """Rows of one step: int64 [batch, context], cut from the streams in these shares."""
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, step]))
        rows = np.full((batch, self.context), self.bos, dtype=np.int64)
        for row, source in enumerate(rng.choice(len(self.streams), size=batch, p=np.array(shares) / sum(shares))):
            stream = self.streams[source]
            start = rng.integers(0, len(stream) - self.context)
            rows[row, 1:] = stream[start : start + self.context - 1]
        return rows


def evaluation_rows(stream: Tokens, bos: int, context: int) -> Iterator[NDArray[np.int64]]:
    """The whole stream cut into consecutive rows [context], BOS first; the remainder is dropped."""
    width = context - 1
    for start in range(0, len(stream) - width + 1, width):
        row = np.full(context, bos, dtype=np.int64)
        row[1:] = stream[start : start + width]
        yield row
