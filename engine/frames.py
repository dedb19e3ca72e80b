"""Curves as columns, one value a row: what tables and data frames of a run are made of. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.results import CurveResult


def curve_columns(curve: CurveResult) -> dict[str, NDArray[Any]]:
    """Every value of a curve: curve, base, step, kind, distance, angle, read, metric, value."""
    series = [(r, m, v) for r, by in curve.values.items() for m, v in by.items()]
    n, k = len(curve.coordinate), len(series)
    return {
        "curve": np.full(n * k, curve.summary.curve),
        "base": np.full(n * k, curve.summary.base),
        "step": np.tile(np.arange(n), k),
        "kind": np.full(n * k, curve.summary.kind),
        "distance": np.tile(curve.distance, k),
        "angle": np.tile(curve.angle, k),
        "read": np.repeat([read for read, _, _ in series], n),
        "metric": np.repeat([metric for _, metric, _ in series], n),
        "value": np.concatenate([v for _, _, v in series]),
    }


def curve_frame(curves: Iterable[CurveResult]) -> Any:
    """All values of curves as a pandas DataFrame."""
    import pandas as pd

    return pd.concat([pd.DataFrame(curve_columns(c)) for c in curves], ignore_index=True)


def summary_frame(curves: Iterable[CurveResult]) -> Any:
    """One row per curve as a pandas DataFrame."""
    import pandas as pd

    return pd.DataFrame([asdict(c.summary) for c in curves])
