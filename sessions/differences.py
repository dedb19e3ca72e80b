"""What is not as it was when a run was recorded: versions, device, threads, weights, texts, layout.

Two runs on one device with one set of these give the same numbers; where `replay --verify` finds others, one of them is
why. Knows records of runs; computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.printable import printable

PLACES: Final = (
    ("device", ("device",)),
    ("processor", ("device_name",)),
    ("threads", ("threads",)),
    ("dtype", ("dtype",)),
    ("weights", ("model", "weights_sha256")),
    ("model revision", ("model", "revision")),
    ("tokenizer", ("tokenizer", "class")),
    ("SAE", ("sae", "sha256")),
    ("population", ("population", "hash")),
    ("layout", ("layout", "rule")),
    ("rows per pass", ("layout", "rows_per_chunk")),
)
"""What it is called, and where it stands in a record."""
UNSEEN: Final = ("textual", "plotext", "dirscope")
"""Packages that compute nothing, or whose version is that of whoever reads this."""


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each thing that differs, with what it was and is; what one of the records does not say is passed over."""
    return [f"{printable(name)} {_short(was)} -> {_short(is_)}" for name, was, is_ in _pairs(then, now) if was != is_]


def _pairs(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, path in PLACES:
        was, is_ = (_at(record, path) for record in (then, now))
        if was is not None and is_ is not None:
            yield name, was, is_
    before, after = (_at(record, ("versions",)) or {} for record in (then, now))
    for package in sorted(before.keys() & after.keys() - set(UNSEEN)):
        yield package, before[package], after[package]


def _at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = record
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _short(value: Any) -> str:
    text = printable(str(value))
    return f"{text[:12]}..." if len(text) > 40 else text


def told(found: list[str]) -> str:
    """All of them on a line."""
    if not found:
        return "same as recorded: versions, device, threads, weights, population and layout"
    return f"not as recorded: {', '.join(found)}"
