"""The hot path: run only the perturbed positions of a prompt, exactly as the full model would.

Attention is causal and one position changes, so everything before it is computed once (its keys and values), and
everything below the write hook is skipped. What runs is the model's own Hugging Face `forward`: blocks below the
write are short-circuited, a read-only cache stands in for the prefix, and the perturbed copies are rows of a batch or
branches of a tree (`engine.prefix`). The first tree computes its prefix in the same pass. No block is written by hand,
which is what keeps it exact for every architecture.

Knows raw vectors and token ids. Does not know bases, directions or metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from transformers import Cache

from engine.freezing import Freezer
from engine.hooks import FIRST, RESID_PRE, HookPoint
from engine.models import Model
from engine.prefix import LayerMask, Prefix, Recorder, branching, noting_masks
from engine.shards import Rule
from engine.taps import editing, ending_after_blocks, pausing, reading, skipping


@dataclass(eq=False)
class Hosts:
    """Contexts into which vectors are written, equally long: what one clean pass up to the write leaves behind."""

    token_ids: Tensor
    """[B, T], up to and including the read position."""
    position: int
    """Where vectors are written."""
    raw: Tensor
    """[B, d_hook]: what the model itself has at the write hook and position."""
    stream: Tensor
    """[B, T, d_model]: the residual stream that enters the write hook's block."""
    masks: tuple[LayerMask, ...] | None
    """Per block; None where blocks are given no mask that a tree could use."""
    prefix: Prefix | None = None
    """Keys and values of the positions before the write, taken down by the first pass that computes them."""

    @property
    def n_suffix(self) -> int:
        """Positions run per copy: S."""
        return self.token_ids.shape[1] - self.position

    def __len__(self) -> int:
        return len(self.token_ids)

    @classmethod
    def joined(cls, groups: Sequence[Hosts]) -> Hosts:
        """Contexts of several clean passes, equally long, as one batch."""
        return replace(
            groups[0],
            token_ids=torch.cat([g.token_ids for g in groups]),
            raw=torch.cat([g.raw for g in groups]),
            stream=torch.cat([g.stream for g in groups]),
            prefix=None,
        )

    def select(self, rows: Tensor) -> Hosts:
        """Some of the contexts, in any order and number."""
        return replace(
            self,
            token_ids=self.token_ids[rows],
            raw=self.raw[rows],
            stream=self.stream[rows],
            prefix=None if self.prefix is None else self.prefix.select(rows),
        )


@dataclass(frozen=True, eq=False)
class Output:
    """What rows gave at the read position."""

    logits: Tensor
    """[B, N, d_vocab]"""
    reads: tuple[Tensor, ...]
    """One [B, N, d_hook] per read hook, raw."""


@dataclass(frozen=True)
class _Arrangement:
    """How N copies of S tokens of B contexts lie in what a model is fed: rows [B * N, S] or branches [B, N * S]."""

    contexts: int
    copies: int
    length: int
    tree: bool
    before: int = 0
    """Tokens of the prefix in front of the branches."""

    @property
    def rows(self) -> int:
        """Of the batch that is fed."""
        return self.contexts if self.tree else self.contexts * self.copies

    def join(self, copies: Tensor, whole: Tensor) -> Tensor:
        """Copies [B, N, S, ...] as they are fed; the prefix, if one is in front, is the head of `whole` [B, T, ...]."""
        if not self.tree:
            return copies.flatten(0, 1)
        branches = copies.flatten(1, 2)
        return torch.cat([whole[:, : self.before], branches], dim=1) if self.before else branches

    def split(self, fed: Tensor) -> Tensor:
        """[B, N, S, ...] of what the model gave."""
        if not self.tree:
            return fed.reshape(self.contexts, self.copies, *fed.shape[1:])
        return fed[:, self.before :].reshape(self.contexts, self.copies, self.length, *fed.shape[2:])

    def write(self, fed: Tensor, vectors: Tensor) -> Tensor:
        """The first token of each copy becomes its vector [B, N, d]."""
        return self.join(torch.cat([vectors[:, :, None], self.split(fed)[:, :, 1:]], dim=2), fed)

    def last(self, fed: Tensor) -> Tensor:
        """The last token of each copy: [B, N, ...]."""
        return self.split(fed)[:, :, -1]


class Forward:
    """Writes vectors at one hook and reads others, for one model.

    Args:
        model: the loaded model.
        write: where vectors are written.
        reads: what is read; none may come before `write`.
        pause: called before every block that runs; may raise to end a pass in its middle.
        freezer: parts that give what they give for the first copy of each context, which then is the base run; None
            holds nothing.
    """

    def __init__(
        self,
        model: Model,
        write: HookPoint,
        reads: Sequence[HookPoint],
        pause: Callable[[], None] = lambda: None,
        freezer: Freezer | None = None,
    ) -> None:
        self.model = model
        self.write = write
        self.reads = tuple(reads)
        self.pause = pause
        self.freezer = freezer

    @torch.no_grad()
    def hosts(self, contexts: Sequence[Sequence[int]], position: int) -> Hosts:
        """One clean pass over equally long contexts, the last token of which is the read position.

        It computes the blocks up to the write; those after it are only asked for their masks.
        """
        model, write, masks = self.model, self.write, dict[int, LayerMask]()
        found: dict[str, Tensor] = {}
        ids = model.tensor(contexts)

        def stream(tensor: Tensor) -> None:
            found["stream"] = tensor.clone()

        def raw(tensor: Tensor) -> None:
            found["raw"] = tensor[:, position].clone()

        with (
            pausing(self.model, self.pause),
            noting_masks(model.layers, len(contexts), masks),
            reading(model, HookPoint(write.layer, RESID_PRE, ""), stream),
            reading(model, write, raw),
            skipping(model, range(write.layer + (not write.in_stream), model.n_layers)),
            ending_after_blocks(model),
        ):
            model.network(input_ids=ids, use_cache=False)
        whole = len(masks) == model.n_layers
        return Hosts(
            token_ids=ids,
            position=position,
            raw=found["raw"],
            stream=found["stream"],
            masks=tuple(masks[i] for i in range(model.n_layers)) if whole else None,
        )

    @torch.no_grad()
    def prefix(self, hosts: Hosts) -> Prefix:
        """Keys and values of the positions before the write.

        Raises:
            LookupError: The model's blocks keep none.
        """
        recorder = Recorder(self.model.n_layers, self.write.layer, hosts.position)
        with (
            pausing(self.model, self.pause, self.write.layer),
            self._starting(hosts.stream[:, : hosts.position]),
            ending_after_blocks(self.model),
        ):
            ids = hosts.token_ids[:, : hosts.position]
            self.model.network(input_ids=ids, past_key_values=recorder.cache(), use_cache=True)
        return recorder.prefix

    def run(self, hosts: Hosts, vectors: Tensor, rule: Rule = "batch") -> Output:
        """Write each of `vectors` [B, N, d_hook] (raw) at its context's position and read at its last token.

        Where nothing can be shared, whole prompts are run whatever the rule; where a tree has no prefix or no masks,
        its copies are rows of a batch.
        """
        shares = self._shares(hosts)
        if rule == "full" or not self.model.has_cache:
            return self.full(hosts, vectors)
        with torch.set_grad_enabled(vectors.requires_grad):
            if shares and rule == "tree" and hosts.masks is not None:
                return self._tree(hosts, vectors, hosts.masks)
            if shares and hosts.prefix is None:
                hosts.prefix = self.prefix(hosts)
            contexts, copies = vectors.shape[:2]
            ours = _Arrangement(contexts, copies, hosts.n_suffix, tree=False)
            cache = hosts.prefix.cache() if shares and hosts.prefix is not None else None
            return self._written(hosts, vectors, ours, cache, self._keeping(self._last(hosts.n_suffix)))

    def _shares(self, hosts: Hosts) -> bool:
        """Whether there are keys and values that copies have in common."""
        return self.model.has_cache and hosts.position > 0 and self.write.layer < self.model.n_layers

    def _tree(self, hosts: Hosts, vectors: Tensor, masks: Sequence[LayerMask]) -> Output:
        model, position, length = self.model, hosts.position, hosts.n_suffix
        contexts, copies = vectors.shape[:2]
        recorder = Recorder(model.n_layers, self.write.layer, position)
        before = position if hosts.prefix is None else 0
        ours = _Arrangement(contexts, copies, length, tree=True, before=before)
        ends = torch.arange(before + length - 1, before + copies * length, length, device=model.device)
        more = self._keeping(ends if before or length > 1 else 0)
        if "position_ids" in model.takes:
            suffix = torch.arange(position, position + length, device=model.device).repeat(copies)
            places = torch.cat([torch.arange(before, device=model.device), suffix])
            more["position_ids"] = places.expand(contexts, -1)
        with branching(model.layers, self.write.layer, masks, position, copies, contexts, bool(before)):
            cache = recorder.cache() if hosts.prefix is None else hosts.prefix.cache()
            output = self._written(hosts, vectors, ours, cache, more)
        if hosts.prefix is None:
            hosts.prefix = recorder.prefix
        return output

    def _written(
        self, hosts: Hosts, vectors: Tensor, ours: _Arrangement, cache: Cache | None, more: dict[str, Any]
    ) -> Output:
        """One pass over copies in some arrangement."""
        model, write = self.model, self.write
        copied = hosts.stream[:, None, hosts.position :].expand(-1, ours.copies, -1, -1)
        if write.in_stream:
            copied = torch.cat([vectors[:, :, None], copied[:, :, 1:]], dim=2)
        injected = ours.join(copied, hosts.stream)
        reads: list[Tensor] = [vectors] * len(self.reads)
        with contextlib.ExitStack() as stack:
            stack.enter_context(pausing(model, self.pause, write.layer))
            stack.enter_context(self._starting(injected))
            if not write.in_stream:
                stack.enter_context(editing(model, write, lambda fed: ours.write(fed, vectors)))
            self._freeze(stack, ours)  # in front of the reads, which see what is held
            for i, hook in enumerate(self.reads):
                if hook.place == write.place and write.in_stream:
                    reads[i] = ours.last(injected)
                else:
                    stack.enter_context(reading(model, hook, _into(reads, i, ours.last)))
            ids = hosts.token_ids[:, None, hosts.position :].expand(-1, ours.copies, -1)
            fed = ours.join(ids, hosts.token_ids)
            logits = model.network(input_ids=fed, past_key_values=cache, use_cache=cache is not None, **more).logits
        if not ours.tree:
            logits = logits[:, -1].unflatten(0, (ours.contexts, ours.copies))
        elif logits.shape[1] != ours.copies:
            logits = ours.last(logits)
        return Output(logits, tuple(reads))

    @contextlib.contextmanager
    def _starting(self, stream: Tensor) -> Iterator[None]:
        """What enters the write hook's block is this stream, and blocks before it do nothing."""
        layer = self.write.layer
        put = skipping(self.model, range(layer), stream) if layer else editing(self.model, FIRST, lambda old: stream)
        with put:
            yield

    def _freeze(self, stack: contextlib.ExitStack, ours: _Arrangement) -> None:
        if self.freezer is not None:
            stack.enter_context(self.freezer.holding(ours.split, ours.join, ours.rows))

    def _keeping(self, kept: int | Tensor) -> dict[str, Any]:
        """Which positions to compute logits of, for models that can be told."""
        return {"logits_to_keep": kept} if "logits_to_keep" in self.model.takes else {}

    def _last(self, length: int) -> int | Tensor:
        """The last of so many positions; by index, since what a slice leaves is not contiguous and slow to unembed."""
        return 0 if length == 1 else torch.tensor([length - 1], device=self.model.device)

    def derivative(self, hosts: Hosts, base: Tensor, tangents: Tensor, rule: Rule = "batch") -> tuple[Tensor, Tensor]:
        """Logits [B, d_vocab] at `base` [B, d_hook] and their exact derivative along `tangents` [B, N, d_hook].

        Forward-mode differentiation through the same pass: [B, N, d_vocab].
        """
        if hosts.prefix is None and self._shares(hosts) and rule != "full":
            hosts.prefix = self.prefix(hosts)  # taken down in the pass below, it would carry tangents
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(base[:, None].expand_as(tangents).contiguous(), tangents)
            primal, tangent = forward_ad.unpack_dual(self.run(hosts, dual, rule).logits)
        return primal[:, 0], torch.zeros_like(primal) if tangent is None else tangent

    def gradient(
        self, hosts: Hosts, vectors: Tensor, score: Callable[[Output], Tensor], rule: Rule = "batch"
    ) -> tuple[Tensor, Tensor]:
        """A score [B, N] of what rows give, and its gradient with respect to their vectors [B, N, d_hook].

        Reverse-mode differentiation through the same pass.
        """
        if hosts.prefix is None and self._shares(hosts) and rule != "full":
            hosts.prefix = self.prefix(hosts)  # taken down in the pass below, it would carry its graph
        with torch.enable_grad():
            leaf = vectors.detach().clone().requires_grad_(True)
            values = score(self.run(hosts, leaf, rule))
            found = torch.autograd.grad(values.sum(), leaf)[0]
        return values.detach(), found

    def full(self, hosts: Hosts, vectors: Tensor) -> Output:
        """The same as `run` the plain way: whole forward passes, nothing skipped, shared or cached."""
        with torch.set_grad_enabled(vectors.requires_grad):
            return self._full(hosts, vectors)

    def _full(self, hosts: Hosts, vectors: Tensor) -> Output:
        contexts, copies = vectors.shape[:2]
        reads: list[Tensor] = [vectors] * len(self.reads)
        position = hosts.position

        def put(fed: Tensor) -> Tensor:
            return torch.cat([fed[:, :position], vectors.flatten(0, 1)[:, None], fed[:, position + 1 :]], dim=1)

        def each(fed: Tensor) -> Tensor:
            return fed[:, -1].reshape(contexts, copies, -1)

        with contextlib.ExitStack() as stack:
            stack.enter_context(pausing(self.model, self.pause))
            stack.enter_context(editing(self.model, self.write, put))
            self._freeze(stack, _Arrangement(contexts, copies, hosts.token_ids.shape[1], tree=False))
            for i, hook in enumerate(self.reads):
                stack.enter_context(reading(self.model, hook, _into(reads, i, each)))
            ids = hosts.token_ids[:, None].expand(-1, copies, -1).flatten(0, 1)
            output = self.model.network(input_ids=ids, use_cache=False, **self._keeping(self._last(ids.shape[1])))
        return Output(each(output.logits), tuple(reads))


def _into(reads: list[Tensor], i: int, each: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
    def take(tensor: Tensor) -> None:
        reads[i] = each(tensor).clone()

    return take
