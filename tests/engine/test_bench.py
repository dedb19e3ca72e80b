"""The benchmark: that what it times gives the same curve, and that it says what it was asked. No time is asserted."""

from __future__ import annotations

import pytest
import torch

from engine.bench import STEPS, _Task, bench_lines, bench_model
from engine.errors import UsageError
from engine.models import Model


def test_every_method_computes_the_same_curve(embedded: Model) -> None:
    """Against the loop of plain forward passes; float32 layouts differ by some 1e-6 in KL."""
    task = _Task(embedded)
    truth = task.loop(STEPS)
    assert float(truth[-1]) > 1, "the sweep stays on its plateau, where every method gives 0"
    for method in (task.batched, task.cached, task.sweep, task.population):
        assert torch.allclose(method(), truth, atol=5e-6, rtol=2e-5), method.__name__


def test_the_table_names_every_method_and_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.bench.REPEATS", 1)
    lines = list(bench_lines("embedded", 1, "cpu"))
    table = [line for line in lines if " x  " in line]
    assert len(table) == 7
    for line in table:
        assert float(line.rsplit(maxsplit=1)[1]) < 1e-5
    ours = next(line for line in table if "one sweep" in line)
    assert "1.0 x" in ours
    assert any(line.startswith("floor: ") for line in lines)
    assert any(line.startswith("memory: ") for line in lines)


def test_a_size_that_is_unknown_is_refused() -> None:
    with pytest.raises(UsageError, match="gpt2-small"):
        bench_model("gpt2-smal")
