"""What events from a file must be like before anybody shows them: a file may come from anywhere.

Types and lengths are checked once, where lines are read, so that nothing that stores, draws or exports a run has to.
Knows the shape of events; no files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from engine.results import Series, Summary, TokenTable

LARGEST: Final = 2**53
"""Of whole numbers; no index, count or number of a curve comes near."""
DEEPEST: Final = 50
"""Tables within tables; ours are within ten."""
_TYPES: Final[dict[str, type]] = {"int": int, "float": float, "str": str, "bool": bool}
_SUMMARY: Final = {f.name: str(f.type).split(" | ") for f in fields(Summary)}

SECTIONS: Final[dict[str, dict[str, Any]]] = {
    "model": {"name": "", "weights": "trained", "weights_sha256": "", "n_layers": 0, "d_model": 0},
    "site": {
        "prompt": "",
        "token_ids": [0],
        "tokens": [""],
        "position": 0,
        "read_position": 0,
        "write": "",
        "read": [""],
        "basis": "raw",
    },
    "population": {},
    "path": {"unit": "L2", "steps": 1},
    "versions": {},
    "check": {},
    "layout": {},
    "definitions": {},
}
"""What every record has, by section, with what stands for what is missing; an example gives its type."""
FREE: Final = ("prompt", "tokens", "name")
"""Texts that may hold anything, as a path of a model does; others are names of ours."""
NUMBERS: Final[dict[str, float | None]] = {
    "typical_distance": None,
    "level": 0.5,
    "n_curves": 0,
    "n_bases": 0,
    "threads": None,
}
"""Numbers of every record, with what stands for what is missing."""


def whole(value: Any, least: int = 0) -> int:
    """A whole number of a sane size.

    Raises:
        ValueError: It is none.
    """
    if type(value) is not int or not least <= value < LARGEST:
        raise ValueError(f"{str(value)[:40]!r} is no whole number of at least {least}")
    return value


def maybe_whole(value: Any) -> int | None:
    """A whole number, or nothing.

    Raises:
        ValueError: It is neither.
    """
    return None if value is None else whole(value)


def text(value: Any) -> str:
    """A text.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is no text")
    return value


def table(value: Any) -> dict[str, Any]:
    """A table.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:40]!r} is no table")
    return value


def tree(value: Any) -> dict[str, Any]:
    """A table of tables, lists and plain values, not nested without end.

    Raises:
        ValueError: It is none.
    """
    level: list[Any] = [table(value)]
    for _ in range(DEEPEST):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return dict(value)
    raise ValueError("tables within tables without end")


def table_name(value: Any) -> str:
    """The name of a table of a run, which becomes a file's.

    Raises:
        ValueError: It is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text(value)):
        raise ValueError(f"{value[:40]!r} is no name of a table")
    return str(value)


def row(value: Any) -> dict[str, Any]:
    """A row of a table, whose columns have names that can be shown.

    Raises:
        ValueError: It is none.
    """
    found = tree(value)
    for column in found:
        if not column.isprintable():
            raise ValueError(f"{column[:40]!r} is no name of a column")
    return found


def series(values: Any, length: int | None = None) -> Series:
    """Numbers in a row, null as NaN.

    Raises:
        ValueError: They are none, infinite, or not as many.
    """
    found = np.array(values, dtype=np.float64)
    if found.ndim != 1 or (length is not None and len(found) != length):
        raise ValueError(f"a series of shape {found.shape} where {length or 'some'} numbers belong")
    if np.isinf(found).any():
        raise ValueError("an infinite value")
    return found


def summary(data: Mapping[str, Any]) -> Summary:
    """The scalars of a curve; columns that a later version may have added are left alone.

    Raises:
        ValueError, TypeError: One is missing or of another type.
    """
    kept: dict[str, Any] = {name: value for name, value in table(data).items() if name in _SUMMARY}
    for name, value in kept.items():
        kinds = _SUMMARY[name]
        if value is None and "None" in kinds:
            continue
        kind = _TYPES[kinds[0]]
        if kind is float:
            kept[name] = value = math.nan if value is None else float(value) if type(value) is int else value
        if type(value) is not kind or (isinstance(value, int | float) and abs(value) >= LARGEST):
            raise ValueError(f"{name} is {str(value)[:40]!r}")
    return Summary(**kept)


def tokens(data: Mapping[str, Any], steps: int) -> TokenTable:
    """The next tokens along a curve.

    Raises:
        ValueError, KeyError, OverflowError: Shapes differ, or a token has no text.
    """
    ids = np.array(data["ids"], dtype=np.int32)
    probabilities = np.array(data["probabilities"], dtype=np.float64)
    if ids.ndim != 2 or len(ids) != steps or probabilities.shape != ids.shape:
        raise ValueError(f"tokens of shape {ids.shape} and {probabilities.shape} along {steps} steps")
    strings = {int(k): text(v) for k, v in table(data["strings"]).items()}
    nameless = set(ids.ravel().tolist()) - strings.keys()
    if nameless:
        raise ValueError(f"token {min(nameless)} has no text")
    return TokenTable(ids, probabilities, strings)


def info(data: Any) -> dict[str, Any]:
    """What a run says of itself, with every section that each run has.

    Raises:
        ValueError: Something is of another type.
    """
    found = tree(data)
    for section, members in SECTIONS.items():
        held = dict(table(found.get(section, {})))
        for name, example in members.items():
            held[name] = value = _like(held.get(name, example), example, f"{section}.{name}")
            texts = [value] if isinstance(value, str) else value if example == [""] else []
            if name not in FREE and not all(t.isprintable() for t in texts):
                raise ValueError(f"{section}.{name} is {str(value)[:40]!r}")
        found[section] = held
    site = found["site"]
    if not 0 <= site["position"] < len(site["tokens"]):
        raise ValueError(f"position {site['position']} lies outside {len(site['tokens'])} tokens")
    for holder, numbers in ((found, NUMBERS), (found["path"], {"stop": None})):
        for name, default in numbers.items():
            value = holder[name] = default if holder.get(name) is None else holder[name]
            if value is not None and (type(value) not in (int, float) or not abs(value) < LARGEST):
                raise ValueError(f"{name} is {str(value)[:40]!r}")
    if found["path"]["unit"] not in ("L2", "degrees", ""):
        raise ValueError(f"no path is measured in {found['path']['unit'][:40]!r}")
    for name in ("sae", "noise_floor"):
        if found.get(name) is not None:
            table(found[name])
    found["warnings"] = _like(found.get("warnings", []), [""], "warnings")
    found["experiment"] = text(found.get("experiment", ""))
    return found


def _like(value: Any, example: Any, name: str) -> Any:
    if isinstance(example, list):
        if not isinstance(value, list) or any(type(item) is not type(example[0]) for item in value):
            raise ValueError(f"{name} is {str(value)[:40]!r}")
        return [whole(item) for item in value] if isinstance(example[0], int) else value
    if type(value) is not type(example):
        raise ValueError(f"{name} is {str(value)[:40]!r}")
    return whole(value) if isinstance(example, int) else value
