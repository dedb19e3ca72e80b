"""The lines of `events.jsonl`: events to JSON objects and back.

Vectors are base64 of little-endian float32; floats are written so that they read back bit for bit; NaN becomes null.
Knows the schema version; knows no files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np

from engine.directions.vector import packed, unpacked
from engine.errors import RunFolderError
from engine.results import (
    BaseResult,
    CurveResult,
    Event,
    Note,
    RowResult,
    RunEnded,
    RunStarted,
    Series,
    Summary,
    TokenTable,
)

SCHEMA_VERSION: Final = 1
SUMMARY_FIELDS: Final = frozenset(f.name for f in fields(Summary))
"""Columns a later version may have added are left alone."""


def to_line(event: Event, seconds: float) -> str:
    """One event as a line of JSON, without its newline."""
    body: dict[str, Any]
    match event:
        case RunStarted(info):
            body = {"type": "run", "info": info}
        case BaseResult():
            body = {
                "type": "base",
                "base": event.base,
                "kind": event.kind,
                "label": event.label,
                "vector": packed(event.vector),
                "token_ids": list(event.token_ids),
                "position": event.position,
                "detail": event.detail,
            }
        case CurveResult():
            body = {"type": "curve", **_curve(event)}
        case RowResult(table, values):
            body = {"type": "row", "table": table, "values": values}
        case Note(text, level):
            body = {"type": "note", "text": text, "level": level}
        case RunEnded(status, why):
            body = {"type": "end", "status": status, "why": why, "peak_bytes": event.peak_bytes}
        case _:
            raise TypeError(f"{type(event).__name__} is not stored")
    return json.dumps(plain({"v": SCHEMA_VERSION, "t": round(seconds, 4), **body}), allow_nan=False)


def plain(value: Any) -> Any:
    """A JSON-able copy: numpy values become Python's, NaN and infinities become null."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(v) for v in value]
    return value


def from_line(line: str) -> tuple[float, Event] | None:
    """Seconds and event of a line; None for a type this version does not know.

    Raises:
        RunFolderError: The line is of a newer schema.
        ValueError, KeyError: It is no event line.
    """
    body = json.loads(line)
    version = body["v"]
    if version > SCHEMA_VERSION:
        raise RunFolderError(
            f"This run was written with schema version {version}, but this dirscope reads up to {SCHEMA_VERSION}: "
            "upgrade dirscope."
        )
    event: Event
    match body["type"]:
        case "run":
            event = RunStarted(body["info"])
        case "base":
            event = BaseResult(
                base=body["base"],
                kind=body["kind"],
                label=body["label"],
                vector=unpacked(body["vector"]),
                token_ids=tuple(body["token_ids"]),
                position=body["position"],
                detail=body["detail"],
            )
        case "curve":
            event = _uncurve(body)
        case "row":
            event = RowResult(body["table"], body["values"])
        case "note":
            event = Note(body["text"], body["level"])
        case "end":
            event = RunEnded(body["status"], body["why"], body.get("peak_bytes"))
        case _:
            return None
    return float(body["t"]), event


def _curve(curve: CurveResult) -> dict[str, Any]:
    body = {
        "curve": curve.summary.curve,
        "base": curve.summary.base,
        "kind": curve.summary.kind,
        "summary": asdict(curve.summary),
        "direction": packed(curve.direction),
        "detail": curve.detail,
        "coordinate": curve.coordinate,
        "distance": curve.distance,
        "angle": curve.angle,
        "values": curve.values,
    }
    if curve.tokens is not None:
        body["tokens"] = {
            "ids": curve.tokens.ids,
            "probabilities": curve.tokens.probabilities,
            "strings": curve.tokens.strings,
        }
    return body


def _uncurve(body: Mapping[str, Any]) -> CurveResult:
    tokens = None
    if "tokens" in body:
        table = body["tokens"]
        tokens = TokenTable(
            np.array(table["ids"], dtype=np.int32),
            _series(table["probabilities"]),
            {int(k): v for k, v in table["strings"].items()},
        )
    return CurveResult(
        summary=Summary(**{k: v for k, v in body["summary"].items() if k in SUMMARY_FIELDS}),
        direction=unpacked(body["direction"]),
        detail=body["detail"],
        coordinate=_series(body["coordinate"]),
        distance=_series(body["distance"]),
        angle=_series(body["angle"]),
        values={
            read: {metric: _series(series) for metric, series in metrics.items()}
            for read, metrics in body["values"].items()
        },
        tokens=tokens,
    )


def _series(values: Any) -> Series:
    # null reads back as NaN
    return np.array(values, dtype=np.float64)
