"""The library of steering vectors: named files in the data directory, each with what it was made for and from.

Knows files and run folders; computes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.directions.vector import packed, unpacked
from engine.durable import FILE_MODE, make_private
from engine.errors import DirectionError, RecipeError, RunFolderError, UsageError, did_you_mean
from engine.printable import printable
from engine.steering.interchange import VectorFile, read_vectors, write_vectors
from sessions.reader import Run

SUFFIX: Final = ".safetensors"
KIND: Final = "saved"
"""A direction of this kind names a vector of the library, and is written out before a recipe is checked."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def names(library: Path) -> list[str]:
    """What is saved, in alphabetical order."""
    return sorted(file.stem for file in library.glob(f"*{SUFFIX}")) if library.is_dir() else []


def checked_name(name: str) -> str:
    """A name that can be a file's.

    Raises:
        UsageError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"A vector's name has letters, digits, '.', '_' and '-', 64 at most; got {name!r}.")
    return name


def save(library: Path, name: str, vectors: VectorFile) -> Path:
    """Keep a vector under a new name; gives its file.

    Raises:
        UsageError: The name is taken or cannot be one, or the directory cannot be written.
    """
    make_private(library)
    file = library / f"{checked_name(name)}{SUFFIX}"
    if file.exists():
        raise UsageError(f"There is a vector '{name}' already: choose another name, or remove that one.")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    write_vectors(file, replace(vectors, provenance={**vectors.provenance, "saved": when}))
    file.chmod(FILE_MODE)
    return file


def load(library: Path, name: str) -> VectorFile:
    """A saved vector.

    Raises:
        UsageError: There is none of this name.
        DirectionError: Its file is damaged.
    """
    file = library / f"{checked_name(name)}{SUFFIX}"
    if not names(library):
        raise UsageError(f"The library has no vector '{name}', nor any other: keep one with dirscope vectors save.")
    if not file.is_file():
        raise UsageError(f"The library has no vector '{name}'{did_you_mean(name, names(library))}")
    found = read_vectors(file)
    if found is None:
        raise DirectionError(f"{file} was not written by dirscope: import it with dirscope vectors import.")
    return found


def remove(library: Path, name: str) -> None:
    """Delete a saved vector.

    Raises:
        UsageError: There is none, or it cannot be deleted.
    """
    load(library, name)
    try:
        (library / f"{name}{SUFFIX}").unlink()
    except OSError as error:
        raise UsageError(f"Cannot remove '{name}' ({error.strerror}): look at the permissions of {library}.") from None


def of_run(run: Run, number: int) -> VectorFile:
    """A vector of a steering run, with the recipe's table and what the draw recorded of it.

    Raises:
        UsageError: The run has none of this number.
        RunFolderError: What it has is damaged.
    """
    try:
        return _of_rows(run, number)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"The vectors of {run.folder} cannot be read ({type(error).__name__}: {error}): run it again."
        ) from None


def _of_rows(run: Run, number: int) -> VectorFile:
    every = run.tables.get("vectors", [])
    rows = [row for row in every if row["number"] == number]
    if not rows:
        have = sorted({int(row["number"]) for row in every})
        raise UsageError(f"{run.folder} has no vector {number}; it has {', '.join(map(str, have)) or 'none'}.")
    model = run.info["model"]
    by_hook: dict[str, list[np.ndarray]] = {}
    for row in rows:
        by_hook.setdefault(str(row["hook"]), []).append(unpacked(str(row["vector"])))
    return VectorFile(
        {hook: np.stack(held) for hook, held in by_hook.items()},
        architecture=str(model.get("model_type", "")),
        n_layers=model.get("n_layers"),
        model=str(model["name"]),
        weights_sha256=str(model["weights_sha256"]),
        label=str(rows[0]["label"]),
        provenance={
            "made": json.loads(str(rows[0]["made"])),
            "kind": str(rows[0]["kind"]),
            "prompt": run.recipe.site.prompt,
            "seed": run.recipe.seed,
            "sae": run.info.get("sae"),
            "versions": run.record.get("versions"),
        },
    )


def lines(vectors: VectorFile) -> list[str]:
    """A vector in lines: what it is, where it acts, how it was made."""
    found = [f"label    {printable(vectors.label)}", f"model    {vectors.model or vectors.architecture or 'not known'}"]
    if vectors.weights_sha256:
        found.append(f"weights  {vectors.weights_sha256[:16]}")
    for hook, held in vectors.rows.items():
        lengths = ", ".join(f"{length:.4g}" for length in np.linalg.norm(held.astype(np.float64), axis=1))
        found.append(f"{hook}: {held.shape[1]} wide, {len(held)} row{'s' if len(held) > 1 else ''} of length {lengths}")
    return found + [
        f"{key}: {printable(json.dumps(value, ensure_ascii=False))}" for key, value in vectors.provenance.items()
    ]


def as_direction(name: str, vectors: VectorFile) -> dict[str, Any]:
    """A saved vector as a `[[directions]]` table that holds all of it."""
    tokens = {len(held) for held in vectors.rows.values()}
    if len(tokens) > 1:
        raise DirectionError(
            f"The vector '{name}' has {sorted(tokens)} rows at different hooks, which cannot be added."
        )
    told = {"model": vectors.model, "weights_sha256": vectors.weights_sha256, "architecture": vectors.architecture}
    parts = {hook: packed(held) for hook, held in vectors.rows.items()}
    known = {key: value for key, value in told.items() if value}
    return {"kind": "vector", "label": name, "parts": parts, "tokens": tokens.pop(), **known}


def written_out(data: Mapping[str, Any], library: Path) -> dict[str, Any]:
    """A recipe's tables with every `kind = "saved"` direction replaced by the vector itself.

    So a recipe that is stored stays whole, whatever becomes of the library.

    Raises:
        RecipeError: A table of this kind has no name, or something else.
        UsageError: The library has no such vector.
    """
    directions = data.get("directions")
    if not isinstance(directions, list):
        return dict(data)
    return {**data, "directions": [_written_out(spec, library) for spec in directions]}


def _written_out(spec: Any, library: Path) -> Any:
    if not isinstance(spec, Mapping):
        return spec
    if isinstance(spec.get("terms"), list):
        return {**spec, "terms": [_written_out(term, library) for term in spec["terms"]]}
    if spec.get("kind") != KIND:
        return spec
    name, kept = spec.get("name"), {k: v for k, v in spec.items() if k in ("weight", "token", "project_out")}
    strange = sorted(set(spec) - {"kind", "name", *kept})
    if not isinstance(name, str) or strange:
        what = f"unknown key '{strange[0]}'" if strange else f"name = {name!r}"
        raise RecipeError(f'A direction of kind "saved" takes the name of a vector of the library; got {what}.')
    return {**as_direction(name, load(library, name)), **kept}
