"""How far a perturbed run is from the base run: KL, JS, top-1 flips and margin; L2, cosine, norm and sign flips.

Torch tensors in, float64 out, in blocks of rows: full float64 copies of the logits would be 0.4 MB a row at GPT-2's
vocabulary. Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

ROWS_PER_BLOCK = 32
TERMS_PER_SUM = 512
STREAM_METRICS = ("norm", "flips")
"""Of what a read hook has, beside L2 and cosine; the other extra ones are of the logits."""


def _float64(tensor: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).to(torch.float64)


def _blocks(logits: Tensor) -> Iterator[Tensor]:
    for rows in logits.split(ROWS_PER_BLOCK):
        yield _float64(rows)


def kl(base: Tensor, logits: Tensor) -> Tensor:
    """KL(base || each row) of the next-token distribution in nats, never negative: [n].

    With e = logits - base - c for any constant c near the mean of logits - base under the base's p,
    KL = log1p(sum p expm1(e)) - sum p e, which keeps its digits far below 1e-6, where the textbook difference of
    log-probabilities is noise. Terms are in the logits' own precision, sums in float64, at a tenth of the time of
    float64: for float32 logits within 1e-6 sqrt(2 KL) of it, since rounding goes by sum p |e|, which is at most the
    root of sum p e^2, about 2 KL, and processors add short sums in different orders.

    Args:
        base: logits [d_vocab] of the base run.
        logits: [n, d_vocab] of the perturbed runs.
    """
    log_p = torch.log_softmax(_float64(base), dim=-1).to(logits.dtype).to(logits.device)
    p = log_p.exp()
    return torch.cat([_kl(rows - base, p, log_p) for rows in logits.split(ROWS_PER_BLOCK)])


def kl_rows(base: Tensor, logits: Tensor) -> Tensor:
    """KL(each row of base || the same row of logits) in nats, in the form of `kl`: both [n, d_vocab], gives [n]."""
    pairs = zip(_blocks(base), _blocks(logits), strict=True)
    return torch.cat([_kl(rows - b, (log_p := torch.log_softmax(b, dim=-1)).exp(), log_p) for b, rows in pairs])


def _kl(d: Tensor, p: Tensor, log_p: Tensor) -> Tensor:
    """KL of rows d = logits - base [n, d_vocab], which are overwritten; p is [d_vocab] or [n, d_vocab]."""
    d -= _expected(d, p)[:, None].to(d)
    mean = _expected(d, p)
    # expm1 overflows beyond 709 (float32: 88); so far out the plain form has digits to spare.
    far = d.amax(-1) > (80 if d.dtype == torch.float32 else 500)
    plain = mean.new_zeros(len(d))
    if d.is_cuda or bool(far.any()):  # asking would make a GPU wait
        plain = _float64(torch.logsumexp(d + log_p, dim=-1)) - mean
    stable = torch.log1p(_expected(torch.expm1_(d), p)) - mean
    return torch.where(far.to(stable.device), plain, stable).clamp_min(0)


def _expected(rows: Tensor, p: Tensor) -> Tensor:
    """sum p row of each row [n, d_vocab]: short partial sums in their own precision, added in float64: [n]."""
    if p.dim() == 2:
        return _float64((rows * p).sum(-1))
    whole = len(p) // TERMS_PER_SUM * TERMS_PER_SUM
    parts = torch.bmm(
        rows[:, :whole].unflatten(1, (-1, TERMS_PER_SUM)).transpose(0, 1), p[:whole].reshape(-1, TERMS_PER_SUM, 1)
    )
    return _float64(parts[..., 0]).sum(0) + _float64(rows[:, whole:] @ p[whole:])


def js(base: Tensor, logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence between base and each row in nats, at most ln 2: [n]."""
    reference = torch.log_softmax(_float64(base), dim=-1)
    values = []
    for rows in _blocks(logits):
        log_q = torch.log_softmax(rows, dim=-1)
        log_m = torch.logaddexp(log_q, reference) - math.log(2)
        left = (reference.exp() * (reference - log_m)).sum(-1)
        right = (log_q.exp() * (log_q - log_m)).sum(-1)
        values.append(((left + right) / 2).clamp_min(0))
    return torch.cat(values)


def top1_flip(base: Tensor, logits: Tensor) -> Tensor:
    """1 where the most probable token differs from the base's, else 0: [n]."""
    return (logits.argmax(-1) != base.argmax(-1)).to(torch.float64)


def margin(base: Tensor, logits: Tensor) -> Tensor:
    """Logit of the base run's most probable token minus the largest other one, nats: [n]; below 0 after a flip.

    A wide margin hides changes from whoever looks at the most probable token only ("Story 0" in the comments on
    Heimersheim & Mendel 2024).
    """
    top = int(base.argmax())
    others = logits.clone()
    others[:, top] = -math.inf
    return _float64(logits[:, top]) - _float64(others.amax(-1))


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each row's next-token distribution, nats: [n]."""
    log_p = torch.log_softmax(_float64(logits), dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


def norm(base: Tensor, rows: Tensor) -> Tensor:
    """Length of each row [n, d] over that of base [d]: what a norm behind it divides by, relative to the base: [n]."""
    length: Tensor = torch.linalg.vector_norm(_float64(rows), dim=-1) / torch.linalg.vector_norm(_float64(base))
    return length


def flips(base: Tensor, rows: Tensor) -> Tensor:
    """Share of coordinates whose sign is not that of base [d]: [n].

    At `mlp.hook_post` the sign of a ReLU, GELU or SiLU is that of its input, so this counts neurons that cross their
    threshold; of a gated MLP it counts sign changes of act(gate) x up, which either factor brings about.
    """
    return ((rows > 0) != (base > 0)).to(torch.float64).mean(-1)


def l2(base: Tensor, rows: Tensor) -> Tensor:
    """Euclidean distance of each row [n, d] from base [d]: [n]."""
    distance: Tensor = torch.linalg.vector_norm(_float64(rows) - _float64(base), dim=-1)
    return distance


def cosine(base: Tensor, rows: Tensor) -> Tensor:
    """Cosine of each row [n, d] with base [d], raw (not mean-centred over data): [n]."""
    x, y = _float64(base), _float64(rows)
    norms = torch.linalg.vector_norm(x) * torch.linalg.vector_norm(y, dim=-1)
    value: Tensor = (y @ x / norms).clamp(-1, 1)
    return value


def fisher_form(base: Tensor, tangents: Tensor) -> Tensor:
    """u'Fu for each direction: the variance, under the base's next-token distribution, of the logits' derivative.

    KL(base || base + a u) = a^2/2 u'Fu + O(a^3) (Fisher information of the softmax family).

    Args:
        base: logits [d_vocab].
        tangents: derivative of the logits along each direction [n, d_vocab].
    """
    p = torch.softmax(_float64(base), dim=-1)
    values = []
    for rows in _blocks(tangents):
        centred = rows - (rows * p).sum(-1, keepdim=True)
        values.append((centred**2 * p).sum(-1))
    return torch.cat(values)


def top_tokens(logits: Tensor, ranks: int) -> tuple[Tensor, Tensor]:
    """The most probable tokens of each row: ids [n, ranks] and probabilities [n, ranks]."""
    top = logits.topk(min(ranks, logits.shape[-1]), dim=-1)
    return top.indices, _float64(top.values - logits.logsumexp(-1, keepdim=True)).exp()
