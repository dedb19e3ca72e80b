"""The hot path: run only the perturbed positions of a prompt, exactly as the full model would.

Attention is causal and one position changes, so everything before it is computed once (its keys and values), and
everything below the write hook is skipped. What runs is the model's own Hugging Face `forward`: blocks below the
write are short-circuited, a read-only cache stands in for the prefix, and the perturbed copies are rows of a batch.
No mask or block is written by hand, which is what keeps it exact for every architecture.

Knows raw residual vectors and token ids. Does not know bases, directions or metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from engine.hooks import HookPoint
from engine.models import Model


@dataclass(frozen=True)
class Host:
    """A context into which vectors are written: what one clean pass leaves behind."""

    token_ids: tuple[int, ...]
    """Up to and including the read position."""
    position: int
    """Where vectors are written."""
    raw: Tensor
    """[d_model]: the model's own residual at the write hook and position."""
    later: Tensor
    """[n_suffix - 1, d_model]: the same for the positions after it, which the write does not change at its hook."""
    prefix: tuple[tuple[Tensor, Tensor], ...]
    """Keys and values of the positions before the write, per block [1, heads, position, d_head]."""
    returns: tuple[int, ...]
    """Length of the tuple each block returns, 0 for a bare tensor."""

    @property
    def n_suffix(self) -> int:
        """Positions run per row."""
        return len(self.token_ids) - self.position


@dataclass(frozen=True)
class Output:
    """What a batch of rows gave at the read position."""

    logits: Tensor
    """[n, d_vocab]"""
    reads: tuple[Tensor, ...]
    """One [n, d_model] per read hook, raw residuals."""


class _PrefixLayer(DynamicLayer):
    """Cached keys and values of the prefix that every row shares and nobody writes to."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys: Tensor = keys
        self.values: Tensor = values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows = key_states.shape[0]
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


POPULATION_ROWS: Final = 256
"""Texts read in one forward pass."""


class _Stop(Exception):
    """Ends a forward pass once what was asked for is captured."""


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden


def _first(output: Any) -> Tensor:
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


@contextlib.contextmanager
def _reading(layers: Sequence[nn.Module], boundary: int, take: Callable[[Tensor], None]) -> Iterator[None]:
    """Calls `take` with the residual stream [batch, pos, d_model] at a block boundary during a forward pass."""
    if boundary < len(layers):
        handle = layers[boundary].register_forward_pre_hook(
            lambda module, args, kwargs: take(_hidden(args, kwargs)), with_kwargs=True
        )
    else:
        handle = layers[-1].register_forward_hook(lambda module, args, output: take(_first(output)))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def replacing(layers: Sequence[nn.Module], boundary: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The residual stream [batch, pos, d_model] at a block boundary becomes what `change` makes of it."""

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new = change(_hidden(args, kwargs))
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        new = change(_first(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    if boundary < len(layers):
        handle = layers[boundary].register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = layers[-1].register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _skipping(layers: Sequence[nn.Module], boundary: int, injected: Tensor, returns: Sequence[int]) -> Iterator[None]:
    """Blocks below `boundary` do nothing and the stream at `boundary` is `injected`."""

    def passing(length: int, replacement: Tensor | None) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden = _hidden(args, kwargs) if replacement is None else replacement
            return (hidden, *[None] * (length - 1)) if length else hidden

        return forward

    try:
        for i in range(boundary):
            # Straight into __dict__: wrappers forward setattr to the module they wrap, and deleting would not undo it.
            layers[i].__dict__["forward"] = passing(returns[i], injected if i == boundary - 1 else None)
        with replacing(layers, 0, lambda stream: injected) if boundary == 0 else contextlib.nullcontext():
            yield
    finally:
        for i in range(boundary):
            layers[i].__dict__.pop("forward", None)


def _into(reads: list[Tensor], i: int) -> Callable[[Tensor], None]:
    """Keeps the last position of a stream [batch, pos, d_model] in slot i."""

    def take(stream: Tensor) -> None:
        reads[i] = stream[:, -1]

    return take


class Forward:
    """Writes vectors at one hook and reads others, for one model.

    Args:
        model: the loaded model.
        write: where vectors are written.
        reads: where the residual stream is read; none may come before `write`.
    """

    def __init__(self, model: Model, write: HookPoint, reads: Sequence[HookPoint]) -> None:
        self.model = model
        self.write = write
        self.reads = tuple(reads)

    @torch.no_grad()
    def host(self, token_ids: Sequence[int], position: int) -> Host:
        """One clean pass over the tokens, the last of which is the read position."""
        model, returns, captured = self.model, list[int](), list[Tensor]()
        cache = DynamicCache()  # without the config: a sliding cache would drop keys that the suffix still needs
        handles = [
            layer.register_forward_hook(
                lambda module, args, output: returns.append(len(output) if isinstance(output, tuple) else 0)
            )
            for layer in model.layers
        ]
        try:
            with _reading(model.layers, self.write.boundary, captured.append):
                model.network(input_ids=model.tensor([token_ids]), past_key_values=cache, use_cache=True)
        finally:
            for handle in handles:
                handle.remove()
        stream = captured[0][0]
        return Host(
            token_ids=tuple(token_ids),
            position=position,
            raw=stream[position].clone(),
            later=stream[position + 1 :].clone(),
            prefix=tuple((layer.keys[..., :position, :], layer.values[..., :position, :]) for layer in cache.layers),
            returns=tuple(returns),
        )

    @torch.no_grad()
    def run(self, host: Host, vectors: Tensor) -> Output:
        """Write each row of `vectors` [n, d_model] (raw residuals) at the host's position and read the last one."""
        rows, model = len(vectors), self.model
        injected = torch.cat([vectors[:, None], host.later.expand(rows, -1, -1)], dim=1)
        cache = Cache(layers=[_PrefixLayer(k, v) for k, v in host.prefix]) if host.position else None
        reads: list[Tensor] = [vectors] * len(self.reads)

        with contextlib.ExitStack() as stack:
            stack.enter_context(_skipping(model.layers, self.write.boundary, injected, host.returns))
            for i, hook in enumerate(self.reads):
                if hook.boundary > self.write.boundary:
                    stack.enter_context(_reading(model.layers, hook.boundary, _into(reads, i)))
                else:
                    reads[i] = injected[:, -1]
            suffix = model.tensor([host.token_ids[host.position :]]).expand(rows, -1)
            output = model.network(
                input_ids=suffix, past_key_values=cache, use_cache=cache is not None, logits_to_keep=1
            )
        return Output(output.logits[:, -1], tuple(reads))

    def derivative(self, host: Host, vector: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [d_vocab] at `vector` and their exact derivative along each row of `tangents` [n, d_model].

        Forward-mode differentiation through the same pass: [n, d_vocab].
        """
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(vector.expand_as(tangents).contiguous(), tangents)
            primal, tangent = forward_ad.unpack_dual(self.run(host, dual).logits)
        return primal[0], torch.zeros_like(primal) if tangent is None else tangent

    @torch.no_grad()
    def full(self, token_ids: Sequence[int], position: int, vectors: Tensor) -> Output:
        """The same as `run` the plain way: whole forward passes, nothing skipped or cached. For checks and timing."""
        model, rows = self.model, len(vectors)
        reads: list[Tensor] = [vectors] * len(self.reads)

        def put(stream: Tensor) -> Tensor:
            stream = stream.clone()
            stream[:, position] = vectors
            return stream

        with contextlib.ExitStack() as stack:
            stack.enter_context(replacing(model.layers, self.write.boundary, put))
            for i, hook in enumerate(self.reads):
                stack.enter_context(_reading(model.layers, hook.boundary, _into(reads, i)))
            output = model.network(input_ids=model.tensor([token_ids]).expand(rows, -1), use_cache=False)
        return Output(output.logits[:, -1], tuple(reads))


@torch.no_grad()
def activations(model: Model, hook: HookPoint, token_ids: Tensor, index: int) -> Tensor:
    """Raw residuals [n, d_model] at a hook and token index of many equally long texts [n, pos]; stops at the hook."""
    return torch.cat(
        [_captured(model, hook, rows, lambda stream: stream[:, index]) for rows in token_ids.split(POPULATION_ROWS)]
    )


@torch.no_grad()
def activations_everywhere(model: Model, hook: HookPoint, token_ids: Tensor) -> Tensor:
    """Raw residuals [n, pos, d_model] at a hook and every token of equally long texts [n, pos]; stops at the hook."""
    return _captured(model, hook, token_ids, lambda stream: stream)


def _captured(model: Model, hook: HookPoint, token_ids: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    """A part of the stream [n, pos, d_model] at a hook."""
    found: list[Tensor] = []

    def take(stream: Tensor) -> None:
        found.append(part(stream).clone())
        raise _Stop

    with contextlib.suppress(_Stop), _reading(model.layers, hook.boundary, take):
        model.network(input_ids=token_ids.to(model.device), use_cache=False)
    return found[0]
