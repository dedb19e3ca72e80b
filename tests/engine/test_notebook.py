"""The notebook bridge: what is in memory gives the curves that files give, and the caller's model is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from engine import as_model, parse_recipe, probe
from engine.embedded import MODEL_DIR, SAES_DIR
from engine.errors import DirectionError, LoadError, RecipeError

PROMPT = "Once upon a time, there was a little girl who"
SMALL = {"path": {"steps": 10, "stop": 8.0}, "population": {"n": 60}}
VECTOR = torch.randn(256, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def network():
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)


@pytest.fixture(scope="module")
def expected(network, tokenizer) -> np.ndarray:
    """KL by plain Hugging Face in float64, the vector added at block 1 by a hook."""
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(PROMPT, add_special_tokens=False)]])
    wide = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64).eval()
    unit = (VECTOR - VECTOR.mean()).double()
    unit = unit / unit.norm()
    logits = []
    for distance in np.linspace(0, 8, 11):

        def add(module, args, kwargs, distance=distance):
            hidden = (args[0] if args else kwargs["hidden_states"]).clone()
            hidden[0, -1] += distance * unit
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        handle = wide.transformer.h[1].register_forward_pre_hook(add, with_kwargs=True)
        with torch.no_grad():
            logits.append(wide(input_ids=ids).logits[0, -1].log_softmax(-1))
        handle.remove()
    return np.array([(logits[0].exp() * (logits[0] - other)).sum().item() for other in logits])


def kl_of(found) -> np.ndarray:
    frame = found.curves
    return frame[(frame.metric == "kl") & (frame.kind == "vector")].sort_values("step").value.to_numpy()


def test_a_network_in_memory_is_probed_along_a_tensor(network, tokenizer, expected: np.ndarray) -> None:
    before = {name: type(module) for name, module in network.named_modules()}
    attention, keys = network.config._attn_implementation, dict(network.__dict__)
    found = probe(network, PROMPT, tokenizer=tokenizer, directions={"mine": VECTOR, "random": 2}, **SMALL)
    assert np.abs(kl_of(found) - expected).max() < 1e-4
    assert list(found.summary["kind"]) == ["vector", "random", "random"]
    assert found.summary["label"][0] == "mine"
    assert {name: type(module) for name, module in network.named_modules()} == before
    assert network.config._attn_implementation == attention
    assert network.__dict__.keys() == keys.keys()
    assert found.site["tokens"][-1] == " who"
    assert parse_recipe(found.recipe.data()) == found.recipe, "the recipe holds the vector itself"


def test_transformer_lens_models_are_probed_and_said_to_be_slower(network, tokenizer, expected: np.ndarray) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    fresh = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    bridge = TransformerBridge.boot_transformers(str(MODEL_DIR), hf_model=fresh, tokenizer=tokenizer)
    found = probe(bridge, PROMPT, directions={"mine": VECTOR}, **SMALL)
    assert np.abs(kl_of(found) - expected).max() < 1e-4
    assert any("whole forward passes, which is exact but slower" in w for w in found.warnings)


@pytest.mark.filterwarnings("ignore:HookedTransformer is deprecated:DeprecationWarning")
def test_a_hooked_transformer_is_probed(tokenizer) -> None:
    """Random weights: its curve against its own hooks."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    torch.manual_seed(0)
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=3, d_model=32, n_heads=2, d_head=16, d_mlp=64, n_ctx=64, d_vocab=4096, act_fn="gelu",
            normalization_type="LN", seed=0, init_weights=True,
        )
    )  # fmt: skip
    found = probe(model, PROMPT, tokenizer=tokenizer, directions={"mine": VECTOR[:32]}, **SMALL)
    ids = torch.tensor([found.site["token_ids"]])
    unit = (VECTOR[:32] - VECTOR[:32].mean()) / (VECTOR[:32] - VECTOR[:32].mean()).norm()
    logits = []
    for distance in np.linspace(0, 8, 11):

        def add(stream, hook, distance=distance):
            stream[:, -1] += distance * unit
            return stream

        with torch.no_grad():
            out = model.run_with_hooks(ids, fwd_hooks=[("blocks.1.hook_resid_pre", add)])
        logits.append(out[0, -1].double().log_softmax(-1))
    kl = np.array([(logits[0].exp() * (logits[0] - other)).sum().item() for other in logits])
    assert kl.max() > 1e-3
    assert np.abs(kl_of(found) - kl).max() < 1e-5


def test_an_sae_in_memory_gives_its_features(network, tokenizer) -> None:
    from sae_lens import SAE

    module = SAE.load_from_disk(SAES_DIR / "blocks.1.hook_resid_pre", device="cpu")
    kinds = {"sae-feature": 2, "sae-error": 1}
    found = probe(network, PROMPT, tokenizer=tokenizer, sae=module, directions=kinds, **SMALL)
    by_name = probe("embedded", PROMPT, sae="bundled", directions=kinds, **SMALL)
    assert list(found.summary["label"]) == list(by_name.summary["label"])
    assert np.abs(found.summary["native_norm"] - by_name.summary["native_norm"]).max() < 1e-4


def test_token_embeddings_of_a_transformer_lens_model_and_its_mode(tokenizer) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    fresh = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    bridge = TransformerBridge.boot_transformers(str(MODEL_DIR), hf_model=fresh, tokenizer=tokenizer).train()
    found = probe(bridge, PROMPT, directions=[{"kind": "token-embedding", "plus": " girl"}], **SMALL)
    by_name = probe("embedded", PROMPT, directions=[{"kind": "token-embedding", "plus": " girl"}], **SMALL)
    assert np.abs(found.results[0].direction - by_name.results[0].direction).max() < 1e-5
    assert bridge.training, "left as it was"


def test_a_model_by_name_takes_its_options() -> None:
    found = probe("embedded", PROMPT, directions={"random": 1}, weights="reinitialised", dtype="float64", **SMALL)
    assert found.recipe.model.weights == "reinitialised"
    assert found.recipe.model.dtype == "float64"
    with pytest.raises(RecipeError, match=r"model\.dtype must be"):
        probe("embedded", PROMPT, dtype="float8")


def test_what_cannot_be_probed_is_refused_in_a_sentence(network, tokenizer) -> None:
    with pytest.raises(LoadError, match="is no model"):
        as_model(torch.nn.Linear(2, 2))
    with pytest.raises(LoadError, match="needs its tokenizer"):
        as_model(network)
    with pytest.raises(DirectionError, match="shape 32, but the write hook has d_hook 256"):
        probe(network, PROMPT, tokenizer=tokenizer, directions={"mine": VECTOR[:32]}, **SMALL)
    with pytest.raises(RecipeError, match="Unknown direction kind 'randm'; did you mean 'random'"):
        probe(network, PROMPT, tokenizer=tokenizer, directions={"randm": 3}, **SMALL)
    with pytest.raises(LoadError, match="cannot be probed: use float32"):
        as_model(AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float16), tokenizer)
    with pytest.raises(LoadError, match="no language model head"):
        as_model(AutoModel.from_pretrained(MODEL_DIR), tokenizer)
    for wrong in ("abc", torch.randn(2, 128), torch.randn(256).to(torch.complex64), None):
        with pytest.raises(DirectionError, match="give a count"):
            probe(network, PROMPT, tokenizer=tokenizer, directions={"mine": wrong}, **SMALL)
    with pytest.raises(RecipeError, match="gives tables instead of curves"):
        probe(network, PROMPT, tokenizer=tokenizer, experiment="decompose", **SMALL)
    with pytest.raises(RecipeError, match="no base64"):
        probe(network, PROMPT, tokenizer=tokenizer, directions=[{"kind": "vector", "data": "%%"}], **SMALL)


def test_an_arrangement_found_wrong_on_the_way_is_replaced(
    network, tokenizer, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but whole passes is said to be wrong; float32, 1e-4 as above."""
    said: list[float] = []

    def wrong(*_: object) -> float:
        said.append(1.0)
        return said[-1]

    monkeypatch.setattr("engine.layouts.difference", wrong)
    found = probe(network, PROMPT, tokenizer=tokenizer, directions={"mine": VECTOR}, **SMALL)
    assert said
    np.testing.assert_allclose(kl_of(found), expected, atol=1e-4)
