"""`file`: a vector from a file, one tensor of a .safetensors file or one array of a .npy file.

Pickles (.pt, .bin) are never opened: they can run anything. Recorded with the file's hash.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError

from engine.directions import DIRECTIONS, DirectionKind, SingleSpec
from engine.drawing import Base, Direction, DrawContext, Vector
from engine.errors import DirectionError

LARGEST_BYTES = 2_000_000_000


class FileSpec(SingleSpec):
    """A tensor of the file by its name, and a row of it where it has several."""

    path: str = Field(min_length=1, description="a .safetensors or .npy file")
    key: str | None = Field(None, min_length=1, description="the name of a tensor in the file")
    row: int | None = Field(None, ge=0, description="a row from 0")


def _draw(spec: FileSpec, context: DrawContext, base: Base, index: int) -> Direction:
    path = Path(spec.path)
    data = _bytes(path)
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


def checked(array: NDArray[Any], name: str, base: Base, context: DrawContext) -> Vector:
    """A vector from outside, in the basis of the write hook [d_hook].

    Raises:
        DirectionError: It has another width, is not finite, or has no length.
    """
    d = len(base.vector)
    if array.shape != (d,):
        shape = " x ".join(map(str, array.shape)) or "a single number"
        raise DirectionError(
            f"{name} holds a vector of shape {shape}, but the write hook has d_hook {d}: choose one of this model and "
            "hook."
        )
    if not np.isfinite(array).all():
        raise DirectionError(f"{name} holds NaN or infinity: its direction cannot be used.")
    vector = array.astype(np.float64)
    if context.centred:
        # The mean over d_model does nothing; kept, it would take a share of the length.
        vector = vector - vector.mean()
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(vector))
    if not length < np.finfo(np.float32).max:
        raise DirectionError(f"The direction of {name} is too long for float32: scale it down.")
    if length <= 1e-6 * np.linalg.norm(array):
        raise DirectionError(f"The direction of {name} has no length: choose another.")
    return np.asarray(vector, dtype=np.float32)


def _bytes(path: Path) -> bytes:
    if path.suffix not in (".safetensors", ".npy"):
        raise DirectionError(f"{path} is neither .safetensors nor .npy; pickles are never opened. Convert it first.")
    try:
        path = path.expanduser()
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
    except (SafetensorError, ValueError, EOFError, TypeError, OSError, KeyError, RuntimeError) as error:
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
        "a vector from a .safetensors or .npy file",
        example='path = "direction.safetensors"',
    )
)
