"""Steering vectors as files: safetensors with metadata, and GGUF control vectors as llama.cpp and repeng read them.

Both read `direction.k` as what is added to the output of block k, blocks counted from 0: it is
`blocks.k.hook_resid_post` here. Neither reads a direction.0, so the first block's output cannot be steered by such a
file. Pickles are never opened. Knows files and hook names; no models.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.errors import DirectionError, UsageError
from engine.hooks import parse_hook

KEY: Final = "dirscope"
"""Of the metadata of a safetensors file."""
FORMAT: Final = 1
SUFFIXES: Final = (".safetensors", ".gguf")
ARCHITECTURE: Final = "controlvector"
LARGEST_BYTES: Final = 2_000_000_000
_NAME: Final = re.compile(r"direction\.([1-9]\d{0,4})")


@dataclass(frozen=True, eq=False)
class VectorFile:
    """A steering vector, and what it was made for."""

    rows: Mapping[str, NDArray[np.float32]]
    """By hook name [n, d_hook]: one row for every steered token, or one for each."""
    architecture: str = ""
    """Hugging Face's `model_type`; empty where it is not known."""
    n_layers: int | None = None
    model: str = ""
    weights_sha256: str = ""
    label: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """How it was made: the direction's table of the recipe, prompts, SAE."""


def read_vectors(path: Path) -> VectorFile | None:
    """A vector file of one of the two formats; None for a safetensors file that dirscope did not write.

    Raises:
        DirectionError: It is missing, damaged, too large, or of another kind.
    """
    if path.suffix not in SUFFIXES:
        raise DirectionError(
            f"{path} is neither {' nor '.join(SUFFIXES)}, and nothing else is opened, pickles least of all: convert it "
            "first."
        )
    return _read_gguf(path) if path.suffix == ".gguf" else _read_safetensors(path)


def write_vectors(path: Path, vectors: VectorFile) -> None:
    """Write one of the two formats, by the file's ending.

    Raises:
        UsageError: There is such a file, or no such format, or it cannot be written.
        DirectionError: GGUF cannot hold this vector.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} must end in {' or '.join(SUFFIXES)}; got {path.suffix or 'no ending'!r}.")
    if path.exists():
        raise UsageError(f"{path} is there already: choose another name.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        (_write_gguf if path.suffix == ".gguf" else _write_safetensors)(temporary, vectors)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot write {path} ({why}): choose another place.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _checked_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DirectionError(f"Cannot read {str(path)!r} ({error.strerror}): give a file of vectors.") from None
    if size > LARGEST_BYTES:
        raise DirectionError(f"{path} is larger than {LARGEST_BYTES:,} bytes, too large for vectors.")


# safetensors


def _write_safetensors(path: Path, vectors: VectorFile) -> None:
    told = {k: v for k, v in vectors.__dict__.items() if k != "rows"}
    rows = {hook: np.ascontiguousarray(held, dtype=np.float32) for hook, held in vectors.rows.items()}
    save_file(rows, path, {KEY: json.dumps({"format": FORMAT, **told}, default=str)})


def _read_safetensors(path: Path) -> VectorFile | None:
    _checked_size(path)
    try:
        with safe_open(path, framework="np") as file:
            told = (file.metadata() or {}).get(KEY)
            if told is None:
                return None
            data = json.loads(told)
            rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise DirectionError(f"{path} is damaged or no vector file: {error}.") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise DirectionError(f"{path} has another format than {FORMAT}: it was written by another dirscope.")
    texts = {name: str(data.get(name, "")) for name in ("architecture", "model", "weights_sha256", "label")}
    layers, provenance = data.get("n_layers"), data.get("provenance")
    return VectorFile(
        _sound(path, rows),
        n_layers=layers if isinstance(layers, int) else None,
        provenance=provenance if isinstance(provenance, dict) else {},
        **texts,
    )


def _sound(path: Path, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Rows that can be added up [n, d_hook], as float32.

    Raises:
        DirectionError: There are none, or they have another shape, are not finite or have no length.
    """
    if not rows:
        raise DirectionError(f"{path} holds no vectors: choose another file.")
    found = {}
    for name, held in rows.items():
        two = held[None] if held.ndim == 1 else held
        if two.ndim != 2 or not two.size or two.dtype.kind != "f":
            raise DirectionError(f"{path}: {name} is {held.dtype} of shape {held.shape}, no rows of vectors.")
        if not np.isfinite(two).all():
            raise DirectionError(f"{path}: {name} holds NaN or infinity, which cannot be added.")
        found[name] = two.astype(np.float32)
    if not any(held.any() for held in found.values()):
        raise DirectionError(f"{path} holds nothing but zeros: there is nothing to add.")
    return found


# GGUF


def _write_gguf(path: Path, vectors: VectorFile) -> None:
    from gguf import GGUFWriter

    directions = {}
    for name, held in vectors.rows.items():
        hook = parse_hook(name, 10**6)
        if not hook.in_stream:
            raise DirectionError(f"GGUF control vectors act on block outputs, and {name} is none: use .safetensors.")
        if len(held) != 1:
            raise DirectionError(
                f"GGUF control vectors are one row for all tokens, and this one has {len(held)}, token by token: use "
                ".safetensors."
            )
        if hook.layer < 2:
            raise DirectionError(
                f"{name} is direction.{hook.layer - 1} of a GGUF control vector, which llama.cpp never adds: write "
                "at blocks.2.hook_resid_pre or later, or use .safetensors."
            )
        # The stream in front of block k + 1 is the output of block k.
        directions[hook.layer - 1] = np.ascontiguousarray(held[0], dtype=np.float32)
    writer = GGUFWriter(path, ARCHITECTURE)
    writer.add_string(f"{ARCHITECTURE}.model_hint", vectors.architecture or "unknown")
    writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(directions))
    for layer, row in sorted(directions.items()):
        writer.add_tensor(f"direction.{layer}", row)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_gguf(path: Path) -> VectorFile:
    from gguf import GGMLQuantizationType, GGUFReader

    _checked_size(path)
    try:
        reader = GGUFReader(path)
        said = {name: field.contents() for name, field in reader.fields.items()}
        tensors = [(str(t.name), t.tensor_type, np.array(t.data)) for t in reader.tensors]
    except Exception as error:  # whatever the reader stumbles over in a damaged file
        raise DirectionError(f"{path} is damaged or no GGUF file ({type(error).__name__}: {error}).") from None
    if (architecture := said.get("general.architecture")) != ARCHITECTURE:
        raise DirectionError(
            f"{path} is a GGUF file of {architecture!r}, not of a control vector: give one whose general.architecture "
            f"is {ARCHITECTURE!r}."
        )
    rows: dict[str, NDArray[Any]] = {}
    plain = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.F64)
    for name, kind, data in tensors:
        match = _NAME.fullmatch(name)
        if match is None:
            raise DirectionError(f"{path} has a tensor {name!r}, where control vectors have direction.1, 2, ... only.")
        if kind not in plain or data.ndim != 1:
            raise DirectionError(f"{path}: {name} is {kind.name} of shape {data.shape}, not a row of plain numbers.")
        rows[f"blocks.{match[1]}.hook_resid_post"] = data
    counted = said.get(f"{ARCHITECTURE}.layer_count")
    if counted is not None and counted != len(rows):
        raise DirectionError(f"{path} says {counted} layers and has {len(rows)} directions: it is damaged or cut off.")
    hint = said.get(f"{ARCHITECTURE}.model_hint")
    return VectorFile(_sound(path, rows), hint if isinstance(hint, str) else "", label=path.stem)
