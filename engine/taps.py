"""Reading and editing hook points of a running model, and skipping the blocks in front of one.

Everything is put on for the length of a `with` and taken off again, also after an error. Knows modules and hook points;
does not know prompts, caches or rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from engine.errors import HookError
from engine.hooks import ATTN_OUT, HOOK_POST, HOOK_Z, MLP_OUT, RESID_MID, HookPoint
from engine.models import Model
from engine.parts import Parts, find_parts, first, hidden

Change = Callable[[Tensor], Tensor]


def parts_of(model: Model, layer: int) -> Parts:
    """The parts of a block, found when first asked for."""
    if layer not in model.parts:
        model.parts[layer] = find_parts(model.network, model.layers[layer], model.probe)
    return model.parts[layer]


def module_at(model: Model, hook: HookPoint) -> nn.Module:
    """The module whose input or output a hook point inside a block is.

    Raises:
        HookError: The block has no such place.
    """
    parts = parts_of(model, hook.layer)
    found = {
        HOOK_Z: parts.from_heads,
        ATTN_OUT: parts.attn_out,
        RESID_MID: parts.attn_out,
        HOOK_POST: parts.from_neurons,
        MLP_OUT: parts.mlp_out,
    }[hook.stage]
    if hook.stage == RESID_MID and found is not None and parts.parallel:
        raise HookError(
            f"{hook.name} does not exist in '{model.name}', whose attention and MLP read the same input side by side: "
            f"use blocks.{hook.layer}.hook_attn_out or blocks.{hook.layer}.hook_resid_post."
        )
    if found is None:
        raise HookError(
            f"{hook.name} cannot be found in '{model.name}' ({type(model.layers[hook.layer]).__name__}): use the "
            f"residual stream, such as blocks.{hook.layer}.hook_resid_pre."
        )
    return found


def width(model: Model, hook: HookPoint) -> int:
    """d_hook: the length of the hook point's vectors.

    Raises:
        HookError: The block has no such place.
    """
    if hook.in_stream:
        return model.d_model
    module = module_at(model, hook)
    if hook.wide_as_stream:
        return model.d_model
    weight = module.weight
    assert isinstance(weight, Tensor)
    rows, columns = weight.shape
    # A Linear keeps [out, in], GPT-2's Conv1D [in, out].
    return int(columns if isinstance(module, nn.Linear) else rows)


@contextlib.contextmanager
def reading(model: Model, hook: HookPoint, take: Callable[[Tensor], None]) -> Iterator[None]:
    """Calls `take` with what passes a hook point, [batch, pos, d_hook], during a forward pass.

    What is taken may be changed in place later in the pass: clone what is kept.
    """

    def look(tensor: Tensor) -> Tensor:
        take(tensor)
        return tensor

    with _tapped(model, hook, look, False):
        yield


@contextlib.contextmanager
def editing(model: Model, hook: HookPoint, change: Change) -> Iterator[None]:
    """What passes a hook point, [batch, pos, d_hook], becomes what `change` makes of it."""
    with _tapped(model, hook, change, True):
        yield


@contextlib.contextmanager
def _tapped(model: Model, hook: HookPoint, change: Change, edit: bool) -> Iterator[None]:
    if hook.in_stream and hook.layer < model.n_layers:
        handles = [_before(model.layers[hook.layer], change, edit)]
    elif hook.in_stream:
        handles = [_after(model.layers[-1], change, edit)]
    else:
        module, entered = module_at(model, hook), list[Tensor]()

        def enter(stream: Tensor) -> Tensor:
            entered[:] = [stream]
            return stream

        def middle(added: Tensor) -> Tensor:
            # The stream between attention and MLP is no module's output: it is what entered plus what attention adds.
            return change(entered[0] + added) - entered[0]

        def batched(tensor: Tensor) -> Tensor:
            # Some families (OPT) run their MLP on [batch * pos, d]; `change` always sees [batch, pos, d].
            return change(tensor.reshape(*entered[0].shape[:2], tensor.shape[-1])).reshape(tensor.shape)

        handles = [_before(model.layers[hook.layer], enter, False)]
        if hook.stage in (HOOK_Z, HOOK_POST):
            handles.append(_before(module, batched, edit))
        else:
            handles.append(_after(module, middle if hook.stage == RESID_MID else batched, edit))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _before(module: nn.Module, change: Change, edit: bool) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new = change(hidden(args, kwargs))
        if not edit:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _after(module: nn.Module, change: Change, edit: bool) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        new = change(first(output))
        if not edit:
            return None
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return module.register_forward_hook(hook)


@contextlib.contextmanager
def skipping(model: Model, blocks: range, injected: Tensor | None = None) -> Iterator[None]:
    """Some blocks do nothing but hand the residual stream on.

    Args:
        blocks: which.
        injected: [batch, pos, d_model], what the last of them hands on in place of what it got; None changes nothing.
    """

    def passing(length: int, replacement: Tensor | None) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            stream = hidden(args, kwargs) if replacement is None else replacement
            return (stream, *[None] * (length - 1)) if length else stream

        return forward

    try:
        for i in blocks:
            # Straight into __dict__: wrappers forward setattr to the module they wrap, and deleting would not undo it.
            replacement = injected if i == blocks[-1] else None
            model.layers[i].__dict__["forward"] = passing(model.returns[i], replacement)
        yield
    finally:
        for i in blocks:
            model.layers[i].__dict__.pop("forward", None)


@contextlib.contextmanager
def pausing(model: Model, pause: Callable[[], None], start: int = 0) -> Iterator[None]:
    """`pause` is called before every block from `start` on and before unembedding; it may raise to end the pass."""
    head = model.network.get_output_embeddings()
    modules = [*model.layers[start:], *([head] if isinstance(head, nn.Module) else [])]
    handles = [module.register_forward_pre_hook(lambda module, args: pause()) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Done(Exception):
    """Ends a pass once the last block has run."""


@contextlib.contextmanager
def ending_after_blocks(model: Model) -> Iterator[None]:
    """The pass inside ends after the last block, without logits. Put on last: what reads that block comes first."""

    def end(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        raise _Done

    handle = model.layers[-1].register_forward_hook(end)
    try:
        with contextlib.suppress(_Done):
            yield
    finally:
        handle.remove()
