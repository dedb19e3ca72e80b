"""`file`: a vector from a file: one tensor of a .safetensors file, one array of a .npy file, or a steering vector of
several hooks or tokens that dirscope saved or that is a GGUF control vector.

Pickles (.pt, .bin) are never opened: they can run anything. Recorded with the file's hash.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.directions.fitting import checked, fitted
from engine.drawing import Base, Direction, DrawContext
from engine.errors import DirectionError
from engine.steering.interchange import read_vectors

LARGEST_BYTES = 2_000_000_000


class FileSpec(SingleSpec):
    """A tensor of the file by its name, and a row of it where it has several."""

    path: str = Field(min_length=1, description="a .safetensors, .npy or .gguf file")
    key: str | None = Field(None, min_length=1, description="the name of a tensor in the file")
    row: int | None = Field(None, ge=0, description="a row from 0")
    check: Literal["refuse", "warn"] = Field("refuse", description="'refuse' or 'warn': for a vector of another model")


def _draw(spec: FileSpec, context: DrawContext, base: Base, index: int) -> Direction:
    path = Path(spec.path).expanduser()
    data = _bytes(path)
    steered = None if path.suffix == ".npy" or spec.key is not None else read_vectors(path)
    if steered is not None:
        made = {"path": str(path), "sha256": hashlib.sha256(data).hexdigest()}
        return fitted("file", steered, steered.label or path.stem, base, context, spec.check == "refuse", made)
    array = _array(path, data, spec.key)
    if array.ndim == 1 and spec.row is not None:
        raise DirectionError(f"{path} holds one vector, so there is no row {spec.row}: leave row out.")
    if array.ndim == 2 and (spec.row is not None or len(array) == 1):
        row = spec.row or 0
        if row >= len(array):
            raise DirectionError(f"{path} has {len(array)} rows, use 0 to {len(array) - 1}; got row = {row}.")
        array = array[row]
    if array.ndim == 2 and array.shape[1] == len(base.vector):
        raise DirectionError(f"{path} holds {len(array)} vectors: name one with row, 0 to {len(array) - 1}.")
    vector = checked(array, str(path), base, context)
    detail = {"path": str(path), "sha256": hashlib.sha256(data).hexdigest(), "key": spec.key, "row": spec.row}
    return Direction("file", spec.key or path.stem, vector, detail)


def _bytes(path: Path) -> bytes:
    if path.suffix not in (".safetensors", ".npy", ".gguf"):
        raise DirectionError(
            f"{path} is neither .safetensors, .npy nor .gguf; pickles are never opened. Convert it first."
        )
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DirectionError(f"{path} is larger than {LARGEST_BYTES:,} bytes: save the direction by itself.")
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # also a home or a name that cannot be
        why = getattr(error, "strerror", None) or error
        raise DirectionError(f"Cannot read {str(path)!r} ({why}): give a file with one vector.") from None


def _array(path: Path, data: bytes, key: str | None) -> NDArray[Any]:
    try:
        if path.suffix == ".npy":
            if key is not None:
                raise DirectionError(f"{path} is .npy, which holds one array without a name: leave key out.")
            array = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            from safetensors.torch import load  # numpy has no bfloat16

            tensors = load(data)
            if key is None and len(tensors) == 1:
                key = next(iter(tensors))
            if key not in tensors:
                raise DirectionError(f"{path} holds {', '.join(sorted(tensors)) or 'nothing'}: name one with key.")
            array = tensors[key].float().numpy()
    except DirectionError:
        raise
    except Exception as error:  # a damaged header may end in anything, of the tokenizer of Python too
        raise DirectionError(f"{path} is damaged or no vector file: {error}.") from None
    if array.dtype.kind not in "fiu":
        raise DirectionError(f"{path} holds {array.dtype} instead of numbers: save it as float32.")
    return np.asarray(array)


DIRECTIONS.register(
    DirectionKind(
        "file",
        "along",
        FileSpec,
        _draw,
        "a vector from a .safetensors, .npy or .gguf file",
        example='path = "direction.safetensors"',
    )
)
