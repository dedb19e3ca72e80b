"""Keeping an answer in a run without anybody reading it by chance, and showing afterwards that it was not changed.

A seal is compressed and masked: no label, number or vector of it stands in the file as such, and no table, picture or
search shows one. It is no secret from somebody who sets out to open it, as whoever runs a test holds everything that
opens it. What protects a result is the commitment, a SHA-256 of what is inside, recorded before the answer is given.
Knows JSON; no files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import RunFolderError

TABLE: Final = "seal"
"""The table of a run that has one: a single row with the fields of a `Seal`."""
SALT: Final = 16
LONGEST: Final = 64 * 2**20
"""Bytes inside; a seal that comes from elsewhere may claim to hold more than a machine has room for."""


@dataclass(frozen=True)
class Seal:
    """As recorded."""

    sealed: str
    """base64"""
    commitment: str
    """SHA-256 of what is inside, in hexadecimal."""

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Seal | None:
        """As a run's table has it; None where that has no row yet."""
        return cls(str(rows[0]["sealed"]), str(rows[0]["commitment"])) if rows else None


def seal(content: Mapping[str, Any]) -> Seal:
    """Close JSON-able content; every time with another mask, so that equal contents do not look alike."""
    inside = json.dumps(content, sort_keys=True, allow_nan=False).encode("utf-8")
    salt = secrets.token_bytes(SALT)
    masked = _masked(zlib.compress(inside), salt)
    return Seal(base64.b64encode(salt + masked).decode("ascii"), hashlib.sha256(inside).hexdigest())


def unseal(closed: Seal) -> dict[str, Any]:
    """What is inside.

    Raises:
        RunFolderError: It was damaged, or changed after it was closed.
    """
    try:
        raw = base64.b64decode(closed.sealed, validate=True)
        packed = zlib.decompressobj()
        inside = packed.decompress(_masked(raw[SALT:], raw[:SALT]), LONGEST)
        if not packed.eof:
            raise ValueError("cut short, or longer than any")
        content = json.loads(inside)
    except (ValueError, zlib.error, RecursionError):
        raise RunFolderError("The seal of this test is damaged, so its labels cannot be told: run it again.") from None
    if hashlib.sha256(inside).hexdigest() != closed.commitment or not isinstance(content, dict):
        raise RunFolderError(
            "The seal of this test does not fit its commitment: it was changed after the test was made. Run it again."
        )
    return content


def _masked(data: bytes, salt: bytes) -> bytes:
    """Data under a keystream of its own length; twice gives the data again."""
    stream = hashlib.shake_256(b"dirscope seal" + salt).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))
