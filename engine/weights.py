"""The model's own weights as directions: embeddings, neurons, read-in rows, null spaces. Torch in, numpy out.

Which matrices read the residual stream, and with what gain of the norm before them, is asked of the running network and
not known by class. Knows models and hook points; no recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import DirectionError
from engine.hooks import ATTN_OUT, HOOK_POST, HOOK_Z, RESID_MID, STAGES, HookPoint, parse_hook
from engine.models import Model
from engine.parts import first, hidden
from engine.taps import module_at

RANK_TOLERANCE: Final = 1e-6
"""Of the largest singular value; float32 weights."""


@dataclass(frozen=True, eq=False)
class ReadIn:
    """A matrix that reads the residual stream behind a norm."""

    name: str
    """Of the module within its block."""
    rows: NDArray[np.float64]
    """[n, d_model]: read directions with the norm's gain in them, in the basis."""


class ModelWeights:
    """Weights of a model, in the basis of a write hook. Satisfies `engine.drawing.Weights`."""

    def __init__(self, model: Model, write: HookPoint) -> None:
        self._model = model
        self._write = write
        self._read_ins: dict[int, list[ReadIn]] = {}

    def embedding(self, text: str) -> NDArray[np.float64]:
        """The row of W_E [d_model] of a text that is one token.

        Raises:
            DirectionError: The text is no token or several, or the write hook is not as wide as an embedding.
        """
        ids = self._model.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) != 1:
            raise DirectionError(
                f"{text!r} is {len(ids)} tokens ({self._model.strings(ids)}), but a token embedding needs one: "
                "mind the space in front of words."
            )
        self._in_stream("token-embedding")
        return self._basis(self._model.network.get_input_embeddings().weight[int(ids[0])])

    @cached_property
    def mean_embedding(self) -> NDArray[np.float64]:
        """Mean row of W_E [d_model]."""
        return self._basis(self._model.network.get_input_embeddings().weight.detach().double().mean(0))

    def neuron(self, layer: int, index: int, side: str) -> NDArray[np.float64]:
        """What an MLP neuron writes (`out`), or the direction it reads (`in`, `gate`), [d_model].

        Raises:
            DirectionError: There is no such neuron or matrix.
            HookError: There is no such layer.
        """
        self._in_stream("mlp-neuron")
        projection = module_at(self._model, self._hook(layer, HOOK_POST))
        rows = self._from(projection) if side == "out" else self._neuron_readers(layer, side, projection)
        if index >= len(rows):
            raise DirectionError(
                f"There is no neuron {index} in layer {layer}: its MLP has {len(rows)}, use 0 to {len(rows) - 1}."
            )
        return self._basis(rows[index])

    def _neuron_readers(self, layer: int, side: str, projection: nn.Module) -> Tensor:
        n = len(self._from(projection))
        prefix = self._mlp_name(layer, projection)
        found = {
            r.name: r.rows for r in self.read_ins(layer) if r.name.startswith(prefix) and len(r.rows) in (n, 2 * n)
        }
        gates = {name: rows for name, rows in found.items() if "gate" in name}
        plain = {name: rows for name, rows in found.items() if "gate" not in name}
        for name, rows in gates.items():
            if len(rows) == 2 * n:  # fused: gate first, then what is gated
                gates, plain = {name: rows[:n]}, {name: rows[n:]}
                break
        chosen = gates if side == "gate" else plain
        if len(chosen) != 1:
            raise DirectionError(
                f"What the neurons of layer {layer} read through ('{side}') cannot be told in '{self._model.name}': "
                'use side = "out".'
            )
        return torch.from_numpy(next(iter(chosen.values())))

    def _mlp_name(self, layer: int, projection: nn.Module) -> str:
        """Name of the module that holds the MLP, with its dot; empty where the block holds it."""
        path = next(name for name, m in self._model.layers[layer].named_modules() if m is projection)
        return path.split(".")[0] + "." if "." in path else ""

    def onto_null_space(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of a vector [d_hook] that the projection behind the write hook maps to nothing.

        Raises:
            DirectionError: Nothing is mapped to nothing there.
        """
        rows = self._row_space
        if rows is None or rows.shape[0] >= rows.shape[1]:
            raise DirectionError(
                f"There is no null space at {self._write.name}: every direction there reaches the residual stream. "
                f"Write at blocks.{self._write.layer}.mlp.hook_post."
            )
        # Twice, since one projection leaves the rounding of the first.
        for _ in range(2):
            vector = vector - rows.T @ (rows @ vector)
        return vector

    @cached_property
    def _row_space(self) -> NDArray[np.float64] | None:
        """Orthonormal rows [rank, d_hook] that the projection behind the write hook can tell apart."""
        if self._write.stage not in (HOOK_POST, HOOK_Z):
            return None
        weight = self._from(module_at(self._model, self._write)).double().cpu().numpy()
        _, sizes, rows = np.linalg.svd(weight.T, full_matrices=False)
        return np.asarray(rows[sizes > RANK_TOLERANCE * sizes.max()])

    def later_read_ins(self) -> list[ReadIn]:
        """The matrices that read the stream after the write hook."""
        layer, stage = self._write.place
        found = [r for later in range(layer + 1, self._model.n_layers) for r in self.read_ins(later)]
        if layer >= self._model.n_layers:
            return []
        if stage < HOOK_Z:
            return [*self.read_ins(layer), *found]
        if stage in (ATTN_OUT, RESID_MID):
            # What attention gives is read once more within its block, by the MLP.
            prefix = self._mlp_name(layer, module_at(self._model, self._hook(layer, HOOK_POST)))
            return [*(r for r in self.read_ins(layer) if prefix and r.name.startswith(prefix)), *found]
        return found

    def _hook(self, layer: int, stage: int) -> HookPoint:
        return parse_hook(f"blocks.{layer}.{STAGES[stage]}", self._model.n_layers)

    @torch.no_grad()
    def read_ins(self, layer: int) -> list[ReadIn]:
        """The matrices of a block that read the residual stream behind a norm, with the gain of that norm."""
        if layer not in self._read_ins:
            self._read_ins[layer] = self._found(layer)
        return self._read_ins[layer]

    def _found(self, layer: int) -> list[ReadIn]:
        block = self._model.layers[layer]
        readers = {n: m for n, m in block.named_modules() if self._reads_stream(m)}
        before = self._norms_before(readers, block)
        return [
            ReadIn(name, self._basis(weight * gain(before[name], self._model.d_model, weight)))
            for name, module in readers.items()
            if name in before and (weight := self._into(module)) is not None
        ]

    def _reads_stream(self, module: nn.Module) -> bool:
        weight = self._into(module)
        return weight is not None and weight.shape[-1] == self._model.d_model

    def _norms_before(self, readers: Mapping[str, nn.Module], within: nn.Module) -> dict[str, nn.Module]:
        """Of each module, by its name, the norm whose output it is given, where one of those within a module is."""
        given: dict[str, Tensor] = {}
        norms: list[tuple[nn.Module, Tensor]] = []

        def reader(name: str) -> Any:
            def take(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if args or "hidden_states" in kwargs:
                    given[name] = hidden(args, kwargs).clone()

            return take

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            norms.append((module, first(output).clone()))

        handles = [m.register_forward_pre_hook(reader(n), with_kwargs=True) for n, m in readers.items()]
        handles += [m.register_forward_hook(after) for m in within.modules() if "norm" in type(m).__name__.lower()]
        try:
            with torch.no_grad():
                self._model.network(input_ids=self._model.probe, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return {
            name: norm
            for name, value in given.items()
            for norm, output in norms
            if output.numel() == value.numel() and torch.equal(output.reshape(value.shape), value)
        }

    @cached_property
    def unembedding(self) -> NDArray[np.float32]:
        """[d_vocab, d_model]: rows of W_U with the gain of the last norm in them, in the basis."""
        head = self._model.network.get_output_embeddings()
        norm = self._norms_before({"head": head}, self._model.network).get("head")
        weight = head.weight.detach()
        rows = (weight * gain(norm, self._model.d_model, weight)).float()
        return np.asarray((rows - rows.mean(-1, keepdim=True) if self._model.centred else rows).cpu().numpy())

    def _in_stream(self, kind: str) -> None:
        if not self._write.wide_as_stream:
            raise DirectionError(
                f"{kind} directions live in the residual stream, d_model wide, but the write hook is "
                f"{self._write.name}: use a residual hook."
            )

    def _basis(self, rows: Any) -> NDArray[np.float64]:
        """Vectors of the stream [..., d_model] as float64, without what the basis ignores."""
        tensor = torch.as_tensor(rows).detach().double()
        return np.asarray((tensor - tensor.mean(-1, keepdim=True) if self._model.centred else tensor).cpu().numpy())

    def _from(self, projection: nn.Module) -> Tensor:
        """What each input of a projection writes [n_in, n_out]."""
        weight = projection.weight
        assert isinstance(weight, Tensor)
        weight = weight.detach()
        return weight.T if isinstance(projection, nn.Linear) else weight

    def _into(self, module: nn.Module) -> Tensor | None:
        """What each output of a projection reads [n_out, n_in]; None where it is no matrix."""
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            return None
        return weight.detach() if isinstance(module, nn.Linear) else weight.detach().T


@torch.no_grad()
def gain(norm: nn.Module | None, d_model: int, like: Tensor) -> Tensor:
    """What a norm multiplies each coordinate by [d_model], once it has normalised.

    Asked with signs that sum to zero, which LayerNorm and RMSNorm leave as they are: half the difference of what comes
    of them and of their opposites is the gain, whatever the bias and however the weight is stored.
    """
    if norm is None:
        return torch.ones(d_model, device=like.device, dtype=like.dtype)
    signs = torch.ones(1, 1, d_model, device=like.device, dtype=like.dtype)
    signs[..., 1::2] = -1
    found: Tensor = ((norm(signs) - norm(-signs)) / 2 * signs)[0, 0]
    return found
