"""Small models of many architectures, built from their configurations with random weights.

Windows are five tokens long, so that they bite; weights are large enough that a perturbation moves the output by nats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf
from transformers import PreTrainedModel

VOCAB, WIDTH, LAYERS, HEADS = 97, 64, 4, 4


def _plain(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.15,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        **more,
    }


def _old(**more: Any) -> dict[str, Any]:
    """GPT-2's names."""
    return {
        "vocab_size": VOCAB,
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_positions": 64,
        "initializer_range": 0.15,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **more,
    }


def _without(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in keys}


WINDOW = {"sliding_window": 5}
MIXED = {"layer_types": ["sliding_attention", "full_attention"] * 2, **WINDOW}
_neox = _without(_plain(), "num_key_value_heads")

FAMILIES: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: tf.GPT2Config(**_old()),
    "gpt_neox": lambda: tf.GPTNeoXConfig(**_neox, use_parallel_residual=True),
    "llama": lambda: tf.LlamaConfig(**_plain()),
    "mistral": lambda: tf.MistralConfig(**_plain(**WINDOW)),
    "qwen3": lambda: tf.Qwen3Config(**_plain(head_dim=16)),
    "gemma2": lambda: tf.Gemma2Config(**_plain(head_dim=16, query_pre_attn_scalar=16, **MIXED)),
    "gemma3": lambda: tf.Gemma3TextConfig(**_plain(head_dim=16, query_pre_attn_scalar=16, **MIXED)),
    "phi": lambda: tf.PhiConfig(**_plain(num_key_value_heads=HEADS)),
    "gpt_neo (local)": lambda: tf.GPTNeoConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        attention_types=[[["global", "local"], 2]],
        window_size=5,
        max_position_embeddings=64,
        initializer_range=0.15,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "gpt_neox (serial)": lambda: tf.GPTNeoXConfig(**_neox, use_parallel_residual=False),
    "qwen2 (mixed)": lambda: tf.Qwen2Config(**_plain(use_sliding_window=True, max_window_layers=2, **MIXED)),
    "gemma": lambda: tf.GemmaConfig(**_plain(head_dim=16)),
    "opt": lambda: tf.OPTConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        ffn_dim=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=64,
        word_embed_proj_dim=WIDTH,
        init_std=0.15,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    ),
    "phi3": lambda: tf.Phi3Config(**_plain(**WINDOW)),
    "bloom": lambda: tf.BloomConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        initializer_range=0.15,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    ),
    "mpt": lambda: tf.MptConfig(
        vocab_size=VOCAB, d_model=WIDTH, n_layers=LAYERS, n_heads=HEADS, max_seq_len=64, initializer_range=0.15
    ),
    "falcon (rope, parallel)": lambda: tf.FalconConfig(**_falcon(), multi_query=True, parallel_attn=True),
    "falcon (alibi)": lambda: tf.FalconConfig(**_falcon(), alibi=True, multi_query=False, parallel_attn=False),
    "falcon (new)": lambda: tf.FalconConfig(**_falcon(), new_decoder_architecture=True, num_kv_heads=2),
    "gptj": lambda: tf.GPTJConfig(**_old(rotary_dim=8)),
    "gpt_bigcode": lambda: tf.GPTBigCodeConfig(**_old()),
    "codegen": lambda: tf.CodeGenConfig(**_old(rotary_dim=8)),
    "stablelm": lambda: tf.StableLmConfig(**_plain()),
    "olmo2": lambda: tf.Olmo2Config(**_plain()),
    "cohere2": lambda: tf.Cohere2Config(**_plain(**MIXED), logit_scale=1.0),
    "gpt_oss": lambda: tf.GptOssConfig(
        **_plain(head_dim=16, num_local_experts=4, num_experts_per_tok=2, **MIXED), experts_implementation="eager"
    ),
    "mixtral": lambda: tf.MixtralConfig(**_plain(num_local_experts=4), experts_implementation="eager"),
}
FIRST_EIGHT = list(FAMILIES)[:8]


def _falcon() -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "initializer_range": 0.15,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def build(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A family's model, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = tf.AutoModelForCausalLM.from_config(FAMILIES[name](), attn_implementation="eager", dtype=dtype)
    return network.eval().requires_grad_(False)
