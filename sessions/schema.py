"""The lines of `events.jsonl`: events to JSON objects and back.

Vectors are base64 of little-endian float32; floats are written so that they read back bit for bit; NaN becomes null.
Knows the schema version; knows no files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
)
from sessions import sound

SCHEMA_VERSION: Final = 1
ENDS: Final = ("done", "stopped", "failed")


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


def from_line(line: str | bytes) -> tuple[float, Event] | None:
    """Seconds and event of a line; None for a type this version does not know.

    Raises:
        RunFolderError: The line is of a newer schema.
        ValueError, KeyError, TypeError, OverflowError, RecursionError: It is no event line.
    """
    body = sound.table(json.loads(line, parse_constant=_no_number))
    version = body["v"]
    if version > SCHEMA_VERSION:
        raise RunFolderError(
            f"This run was written with schema version {version}, but this dirscope reads up to {SCHEMA_VERSION}: "
            "upgrade dirscope."
        )
    event: Event
    match body["type"]:
        case "run":
            event = RunStarted(sound.info(body["info"]))
        case "base":
            ids = body["token_ids"]
            event = BaseResult(
                base=sound.whole(body["base"]),
                kind=sound.text(body["kind"]),
                label=sound.text(body["label"]),
                vector=unpacked(sound.text(body["vector"])),
                token_ids=tuple(sound.whole(i) for i in ids),
                position=sound.whole(body["position"]),
                detail=sound.tree(body["detail"]),
            )
        case "curve":
            event = _uncurve(body)
        case "row":
            event = RowResult(sound.table_name(body["table"]), sound.row(body["values"]))
        case "note":
            event = Note(sound.text(body["text"]), "warning" if body["level"] == "warning" else "info")
        case "end":
            if body["status"] not in ENDS:
                raise ValueError(f"no run ends as {str(body['status'])[:40]!r}")
            event = RunEnded(body["status"], sound.text(body["why"]), sound.maybe_whole(body.get("peak_bytes")))
        case _:
            return None
    seconds = float(body["t"])
    if not 0 <= seconds < sound.LARGEST:
        raise ValueError(f"no event comes after {seconds} seconds")
    return seconds, event


def _no_number(word: str) -> float:
    raise ValueError(f"{word} where a number or null belongs")


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
    coordinate = sound.series(body["coordinate"])
    steps = len(coordinate)
    return CurveResult(
        summary=sound.summary(body["summary"]),
        direction=unpacked(sound.text(body["direction"])),
        detail=sound.tree(body["detail"]),
        coordinate=coordinate,
        distance=sound.series(body["distance"], steps),
        angle=sound.series(body["angle"], steps),
        values={
            read: {metric: sound.series(values, steps) for metric, values in sound.table(metrics).items()}
            for read, metrics in sound.table(body["values"]).items()
        },
        tokens=sound.tokens(body["tokens"], steps) if "tokens" in body else None,
    )
