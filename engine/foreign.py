"""Models that are in memory already: Hugging Face networks and transformer-lens models, as one of ours.

Knows how to wrap them; the caller's own model is left as it is.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.errors import LoadError
from engine.models import DTYPES, Model, from_network, load_model, twin
from engine.recipe import parse_recipe


def as_model(source: Any, tokenizer: Any = None, **options: Any) -> Model:
    """A model by name, a Hugging Face network, or a transformer-lens model.

    Args:
        source: what `model.name` of a recipe takes, a `PreTrainedModel` (causal), a `HookedTransformer` or a
            `TransformerBridge`.
        tokenizer: of the network; transformer-lens models bring their own.
        options: `dtype`, `device` and `weights` of a model by name, as in a recipe's `[model]`.

    Raises:
        LoadError: It is none of these, has no tokenizer, or its architecture is not supported.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, str):
        return load_model(parse_recipe({"site": {"prompt": "x"}, "model": {"name": source, **options}}).model)
    if options:
        raise LoadError(f"{', '.join(options)} are for models by name; one in memory is used as it is.")
    if isinstance(source, PreTrainedModel):
        if source.get_output_embeddings() is None:
            raise LoadError(f"{type(source).__name__} has no language model head: use AutoModelForCausalLM.")
        if source.dtype not in DTYPES.values():
            raise LoadError(f"A network in {source.dtype} cannot be probed: use float32, float64 or bfloat16.")
        if tokenizer is None:
            raise LoadError(
                "A network in memory needs its tokenizer: give tokenizer=AutoTokenizer.from_pretrained(...)."
            )
        return from_network(f"{type(source).__name__} in memory", _ours(source), tokenizer)
    if isinstance(source, nn.Module) and hasattr(source, "run_with_hooks") and hasattr(source, "blocks"):
        tokenizer = tokenizer if tokenizer is not None else getattr(source, "tokenizer", None)
        if tokenizer is None:
            raise LoadError("This transformer-lens model has no tokenizer: give it with tokenizer=.")
        name = getattr(source.cfg, "model_name", "") or "transformer-lens model"
        network: Any = _ThroughLens(source)
        return from_network(f"{name} in memory", network, tokenizer)
    raise LoadError(
        f"{type(source).__name__} is no model: give a name, a Hugging Face causal model, or a transformer-lens model."
    )


def _ours(network: PreTrainedModel) -> PreTrainedModel:
    """The same network with every tensor shared, whose attention takes masks as we make them."""
    ours = twin(network).eval()
    ours.set_attn_implementation("eager")
    return ours


class _ThroughLens(nn.Module):
    """A transformer-lens model behind the few things that we ask of a network: whole forward passes, exact and slow.

    Its list of blocks is found like any other's; having no cache that branches could share, it runs prompt by prompt.
    """

    def __init__(self, lens: nn.Module) -> None:
        super().__init__()
        self.lens = lens
        cfg: Any = lens.cfg
        self.config = SimpleNamespace(
            hidden_size=cfg.d_model,
            vocab_size=cfg.d_vocab,
            num_hidden_layers=cfg.n_layers,
            max_position_embeddings=cfg.n_ctx,
        )

    @property
    def device(self) -> torch.device:
        """Of its parameters."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return next(self.parameters()).dtype

    def get_input_embeddings(self) -> Any:
        """What holds W_E as its weight."""
        return SimpleNamespace(weight=self.lens.W_E)

    def get_output_embeddings(self) -> nn.Module:
        """What gives the logits."""
        head = self.lens.unembed
        assert isinstance(head, nn.Module)
        return head

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:
        """Logits of whole prompts [batch, pos]."""
        was_training = self.lens.training
        self.lens.eval()
        try:
            return SimpleNamespace(logits=self.lens(input_ids, return_type="logits"))
        finally:
            self.lens.train(was_training)
