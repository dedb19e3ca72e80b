"""Closed forms and float64 references for the metrics."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import pytest
import torch

from engine import metrics
from tests.reference import js


def decimal_kl(base: list[float], other: list[float]) -> float:
    """KL with 60 digits."""
    getcontext().prec = 60

    def log_softmax(values: list[float]) -> list[Decimal]:
        exact = [Decimal(v) for v in values]
        total = sum((v.exp() for v in exact), Decimal(0)).ln()
        return [v - total for v in exact]

    p, q = log_softmax(base), log_softmax(other)
    return float(sum((a.exp() * (a - b) for a, b in zip(p, q, strict=True)), Decimal(0)))


@pytest.mark.parametrize("size", [1e-5, 1e-3, 1e-1, 1.0, 30.0])
def test_kl_keeps_its_digits_from_tiny_to_large(size: float) -> None:
    rng = torch.Generator().manual_seed(5)
    base = torch.randn(50, generator=rng, dtype=torch.float64) * 3
    other = base + size * torch.randn(50, generator=rng, dtype=torch.float64)
    expected = decimal_kl(base.tolist(), other.tolist())
    assert float(metrics.kl(base, other[None])) == pytest.approx(expected, rel=1e-9)


def test_kl_is_never_negative_and_zero_on_itself() -> None:
    base = torch.randn(4096, generator=torch.Generator().manual_seed(1))
    near = base + 1e-7 * torch.randn(200, 4096, generator=torch.Generator().manual_seed(2))
    assert float(metrics.kl(base, near).min()) >= 0
    assert float(metrics.kl(base, base[None])) == 0


def test_kl_does_not_overflow_when_a_token_is_ruled_out() -> None:
    base = torch.tensor([0.0, 0.0, -2000.0])
    other = torch.tensor([[0.0, -2000.0, 0.0]])
    # p = (1/2, 1/2, 0) and q = (1/2, 0, 1/2): half of ln(1/2 / 1/2) plus half of (ln 1/2 + 2000 + ln 2).
    assert float(metrics.kl(base, other)) == pytest.approx(1000)


@pytest.mark.parametrize("up", [60.0, 78.0, 85.0, 95.0])
def test_kl_keeps_its_digits_where_expm1_would_overflow(up: float) -> None:
    """A token of hardly any probability rises so far that float32 has no exponential for it."""
    base = torch.tensor([0.0, 0.25, -200.0])
    rows = base + torch.tensor([[1000.0, 1000.5, 1000.25 + up]])
    expected = decimal_kl(base.tolist(), rows[0].tolist())
    assert float(metrics.kl(base, rows)) == pytest.approx(expected, abs=1e-6 * math.sqrt(2 * expected))
    rows = torch.cat([base[None], rows])
    assert metrics.kl(base, rows).tolist() == pytest.approx([0, expected], abs=1e-6 * math.sqrt(2 * expected))


def test_kl_ignores_a_constant_on_all_logits() -> None:
    base, other = torch.randn(30), torch.randn(2, 30)
    assert torch.allclose(metrics.kl(base, other), metrics.kl(base + 5, other - 7), atol=1e-5)


def test_js_of_disjoint_distributions_is_ln_2() -> None:
    base, other = torch.tensor([0.0, -1e4]), torch.tensor([[-1e4, 0.0]])
    assert float(metrics.js(base, other)) == pytest.approx(math.log(2))


def test_js_of_float32_logits_is_the_textbook_one_in_float64_and_never_negative() -> None:
    rng = torch.Generator().manual_seed(6)
    base = torch.randn(500, generator=rng) * 3
    rows = base + torch.tensor([[1e-4], [1e-2], [1.0]]) * torch.randn(3, 500, generator=rng)
    expected = [js(base.double(), row) for row in rows.double()]
    assert metrics.js(base, rows).tolist() == pytest.approx(expected, rel=1e-6)
    near = base.double() + 1e-10 * torch.randn(200, 500, generator=rng)
    assert float(metrics.js(base.double(), near).min()) >= 0


def test_entropy_of_a_uniform_and_a_skewed_distribution() -> None:
    logits = torch.tensor([[0.0] * 8, [math.log(2), 0, 0] + [-math.inf] * 5]).clamp_min(-1e4)
    assert metrics.entropy(logits).tolist() == pytest.approx([math.log(8), 1.5 * math.log(2)], rel=1e-6)


def test_every_metric_comes_in_float64() -> None:
    base, rows = torch.randn(10), torch.randn(3, 10)
    for metric in (metrics.kl, metrics.js, metrics.top1_flip, metrics.margin, metrics.norm, metrics.flips, metrics.l2):
        assert metric(base, rows).dtype == torch.float64, metric.__name__
    for metric in (metrics.cosine, metrics.fisher_form):
        assert metric(base, rows).dtype == torch.float64, metric.__name__
    assert metrics.entropy(rows).dtype == metrics.top_tokens(rows, 2)[1].dtype == torch.float64


def test_fisher_form_of_a_linear_softmax_is_the_closed_form() -> None:
    """For logits W x the Fisher matrix is W' (diag p - p p') W."""
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(20, 6, generator=rng, dtype=torch.float64)
    x = torch.randn(6, generator=rng, dtype=torch.float64)
    u = torch.randn(3, 6, generator=rng, dtype=torch.float64)
    p = (w @ x).softmax(0)
    fisher = w.T @ (torch.diag(p) - torch.outer(p, p)) @ w
    expected = torch.einsum("ni,ij,nj->n", u, fisher, u)
    assert torch.allclose(metrics.fisher_form(w @ x, u @ w.T), expected, rtol=1e-12)
    logits, tangents = (w @ x).float(), (u @ w.T).float()
    in_float64 = metrics.fisher_form(logits.double(), tangents.double())
    assert torch.allclose(metrics.fisher_form(logits, tangents), in_float64, rtol=1e-12)


def test_l2_cosine_and_flips_of_known_vectors() -> None:
    base = torch.tensor([3.0, 4.0])
    rows = torch.tensor([[3.0, 4.0], [4.0, -3.0], [-6.0, -8.0]])
    assert metrics.l2(base, rows).tolist() == pytest.approx([0, math.sqrt(50), 15])
    assert metrics.cosine(base, rows).tolist() == pytest.approx([1, 0, -1])
    assert metrics.cosine(base, torch.tensor([[5.0, 0.0], [0.0, -0.1]])).tolist() == pytest.approx([0.6, -0.8])
    parallel = torch.randn(200, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert max(float(metrics.cosine(row, 3 * row[None])) for row in parallel) == 1, "rounding leads not beyond 1"
    assert min(float(metrics.cosine(row, -3 * row[None])) for row in parallel) == -1
    assert metrics.top1_flip(base, rows).tolist() == [0, 1, 1]


def test_blocks_of_rows_do_not_change_the_result() -> None:
    """Up to the order of float32 sums."""
    base, rows = torch.randn(10), torch.randn(metrics.ROWS_PER_BLOCK * 2 + 3, 10)
    whole = metrics.kl(base, rows)
    assert torch.allclose(whole, torch.cat([metrics.kl(base, r[None]) for r in rows]), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_kl_of_float32_logits_is_that_of_float64_ones(offset: float) -> None:
    """At a vocabulary as large as GPT-2's, from far below the first step of a plateau to several nats.

    The bound is that of `kl`, three times the largest error seen on an Intel and an AMD processor, whose libraries add
    in different orders; a constant on all logits, which means nothing, must not cost digits.
    """
    rng = torch.Generator().manual_seed(3)
    base = torch.randn(50257, generator=rng) * 3
    sizes = 10.0 ** torch.linspace(-5, 0.5, 40)[:, None]
    rows = base + offset + sizes * torch.randn(40, 50257, generator=rng)
    d = rows.double() - base.double()
    p = base.double().softmax(-1)
    d = d - (d @ p)[:, None]
    expected = torch.log1p((p * torch.expm1(d)).sum(-1))
    assert float(expected.min()) < 1e-10
    assert float(expected.max()) > 1
    assert ((metrics.kl(base, rows) - expected).abs() < 1e-6 * (2 * expected).sqrt()).all()


def test_top_tokens_are_sorted_softmax_probabilities() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    ids, probabilities = metrics.top_tokens(logits, 2)
    assert ids.tolist() == [[1, 2]]
    total = math.exp(2) + math.exp(1) + 1
    assert probabilities[0].tolist() == pytest.approx([math.exp(2) / total, math.exp(1) / total])
    ids, probabilities = metrics.top_tokens(torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, 50.0]]), 9)
    assert ids[:, 0].tolist() == [1, 2]
    assert probabilities.sum(-1).tolist() == pytest.approx([1, 1]), "no more ranks than tokens, each row by itself"
