"""Spoiled input: bytes and trees of JSON, changed at random in the ways that break parsers.

Knows nothing of what reads them.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Final

ESCAPES: Final = "\x1b]0;owned\x07\x1b[31mred\x1b[2J\x9b5n\u202etxt.exe\u200b\r\n\0"
ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, -1e308, float("nan"), float("inf"),
    "", " ", "a", ESCAPES, "../../../../tmp/x", "/etc/passwd", "~", "%s%n", "{0}", "x" * 100_000, "\ud83d", [], {},
    [[]], [None], [1, "a"], {"a": None}, "AAAA", "AAA", "nan", "2020-01-01", "0x10", "__class__",
)  # fmt: skip
"""What a value is replaced with."""
PIECES: Final = (
    b"\0", b"\xff", b"\xff\xfe", b"\x1b[2J", b"\n", b"\r", b'"', b"'", b"{", b"}", b"[", b"]", b"=", b",", b"#", b"..",
    b"/", b"../../x", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"-1", b"1e999", b"NaN", b"null", b"\x80\x80",
    b"PK\x03\x04", b"\xf0\x9f\x90\xb1", b"A" * 70_000, b"\xff" * 8, b"\0" * 64,
)  # fmt: skip
"""What is put into bytes."""


def deep(draw: random.Random) -> Any:
    """A value nested further than parsers like."""
    value: Any = 1
    for _ in range(draw.choice([50, 500])):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def spoil_bytes(data: bytes, draw: random.Random) -> bytes:
    """Some bytes flipped, cut, doubled, moved or put in."""
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << draw.randrange(8)
            case 1:
                del out[at:]
            case 2:
                del out[at : at + draw.choice([1, 8, 100])]
            case 3:
                out[at:at] = draw.choice(PIECES)
            case 4:
                piece = draw.choice(PIECES)
                out[at : at + len(piece)] = piece
            case 5:
                out[at:at] = out[at : at + draw.choice([1, 20, 400])]
            case 6:
                out[at : at + 8] = draw.randbytes(8)
    return bytes(out)


def spoil_tree(tree: Any, draw: random.Random) -> Any:
    """One or some values of a tree of JSON replaced, removed, renamed or doubled."""
    spoiled = json.loads(json.dumps(tree))
    for _ in range(draw.choice([1, 1, 2, 3])):
        places = list(_places(spoiled))
        if not places:
            return copy.deepcopy(draw.choice(ODD))
        holder, key = draw.choice(places)
        match draw.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draw.choice(["x", ESCAPES, "", "__proto__"])] = holder.pop(key)
            case 2:
                holder[key] = deep(draw)
            case 3 if isinstance(holder[key], list):
                holder[key] = holder[key] * 3
            case 4 if isinstance(holder[key], str):
                holder[key] = holder[key] + draw.choice([ESCAPES, "../", "x" * 10_000, "\0"])
            case _:
                holder[key] = copy.deepcopy(draw.choice(ODD))
    return spoiled


def _places(tree: Any, depth: int = 0) -> Any:
    """Everything that can be replaced, not too far down: the holder and the key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        if isinstance(value, dict | list) and len(value) < 200 and depth < 20:
            yield from _places(value, depth + 1)
