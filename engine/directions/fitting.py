"""Whether a vector from outside belongs to this model and hook, and the vector as it is used here.

For kinds that bring vectors along rather than draw them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.drawing import Base, Direction, DrawContext, Vector
from engine.errors import DirectionError, HookError
from engine.hooks import parse_hook
from engine.steering.interchange import VectorFile


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


def fitted(
    kind: str,
    vectors: VectorFile,
    label: str,
    base: Base,
    context: DrawContext,
    strict: bool,
    detail: Mapping[str, Any],
) -> Direction:
    """A steering vector of one or more hooks as a direction here; a curve goes along what it has at the write hook.

    Args:
        strict: whether a vector of another model is refused; one of another shape always is.

    Raises:
        DirectionError: It is of another model, of layers this one has not, or of another hook.
    """
    here = context.origin
    if strict and vectors.weights_sha256 and vectors.weights_sha256 != here.weights_sha256:
        raise DirectionError(
            f"{label} was made for '{vectors.model}' with other weights than those of '{here.model}': make it again "
            'here, or set check = "warn" to use it all the same.'
        )
    if strict and vectors.architecture and _plain(vectors.architecture) != _plain(here.architecture):
        raise DirectionError(
            f"{label} was made for a model of type {vectors.architecture!r}, and '{here.model}' is a "
            f'{here.architecture!r}: use that model, or set check = "warn" to use it all the same.'
        )
    places: dict[tuple[int, int], str] = {}
    for name in vectors.rows:
        try:
            places[parse_hook(name, here.n_layers).place] = name
        except HookError:
            raise DirectionError(
                f"{label} holds a vector for {name}, but '{here.model}' has {here.n_layers} layers: it is of another "
                "model."
            ) from None
    here_named = places.get(parse_hook(here.hook, here.n_layers).place)
    if here_named is None:
        raise DirectionError(
            f"{label} holds vectors for {', '.join(vectors.rows)}, and the write hook is {here.hook}: set site.write "
            "to one of them."
        )
    # Under the name that the recipe has for the place.
    named = {here.hook if hook == here_named else hook: held for hook, held in vectors.rows.items()}
    rows = {hook: _rows(held, label, base, context) for hook, held in named.items()}
    told = {**detail, "made_for": vectors.model or vectors.architecture, **vectors.provenance}
    single = len(rows) == 1 and len(rows[here.hook]) == 1
    return Direction(kind, label, _middle(rows[here.hook]), told, None if single else rows, len(rows[here.hook]) > 1)


def _rows(held: NDArray[np.float32], label: str, base: Base, context: DrawContext) -> Vector:
    """Rows as they are used here: zeros stay, others are checked."""
    return np.stack([checked(row, label, base, context) if row.any() else np.zeros_like(base.vector) for row in held])


def _middle(rows: Vector) -> Vector:
    return np.asarray(rows.mean(0, dtype=np.float64).astype(np.float32))


def _plain(architecture: str) -> str:
    """`gptneox` and `gpt_neox` are one."""
    return re.sub(r"[^a-z0-9]", "", architecture.lower())
