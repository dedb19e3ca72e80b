"""The hot path on small models of 27 architectures, each against a plain full forward pass of the same network."""

from __future__ import annotations

import pytest
import torch
import transformers as tf

from engine.crosscheck import boot_bridge, self_check
from engine.embedded import MODEL_DIR
from engine.errors import HookError
from engine.forward import Forward, Hosts
from engine.hooks import STAGES, default_read, parse_hook
from engine.layouts import LayoutBook, LayoutRefused, choose
from engine.metrics import kl
from engine.models import Model, from_network
from engine.shards import Rule
from engine.taps import reading, width
from tests.engine.families import FAMILIES, LAYERS, VOCAB, build

PARALLEL = {"gpt_neox", "phi", "falcon (rope, parallel)", "falcon (new)", "gptj", "codegen", "cohere2"}
EXPERTS = {"gpt_oss", "mixtral"}
RULES: tuple[Rule, ...] = ("tree", "batch")
TOLERANCE = 2e-5
"""Float32 layouts differ by a few 1e-6 here; a wrong mask or position shows at 1e-2 and above."""


def model_of(name: str) -> Model:
    return from_network(name, build(name), None, weights_sha256=name)


def contexts(length: int) -> list[list[int]]:
    return [[(5 * i + 3 * k + 1) % VOCAB for i in range(length)] for k in range(2)]


def moved(hosts: Hosts, copies: int) -> torch.Tensor:
    """Copies of each context's own vector, ever further along a random direction of comparable length."""
    u = torch.randn(hosts.raw.shape[1], generator=torch.Generator().manual_seed(0))
    scale = hosts.raw.norm(dim=-1).mean() / u.norm()
    return hosts.raw[:, None] + 3 * torch.linspace(0, 1, copies)[:, None] * scale * u


@pytest.mark.parametrize("name", FAMILIES)
def test_every_arrangement_is_exact_at_every_hook_point(name: str) -> None:
    """First pass and a later one over the prefix it took down; read at the same token and two tokens later."""
    model = model_of(name)
    for stage in STAGES:
        write = parse_hook(f"blocks.1.{stage}", LAYERS)
        forward = Forward(model, write, [parse_hook(default_read(LAYERS), LAYERS)])
        missing = (stage == "hook_resid_mid" and name in PARALLEL) or (stage == "mlp.hook_post" and name in EXPERTS)
        if missing:
            with pytest.raises(HookError, match=r"use (the residual stream|blocks\.1\.)"):
                width(model, write)
            continue
        for length, position in ((8, 7), (10, 7)):
            for rule in RULES:
                hosts = forward.hosts(contexts(length), position)
                vectors = moved(hosts, 20)
                plain = forward.full(hosts, vectors)
                assert float(kl(plain.logits[0, 0], plain.logits[0]).max()) > 1e-4, "the perturbation does nothing"
                if name == "gpt_neo (local)" and rule == "tree":
                    continue  # its windows are cut by row numbers inside attention, where no mask reaches
                for _ in ("with the prefix in front", "over the prefix taken down"):
                    fast = forward.run(hosts, vectors, rule)
                    off = (fast.logits.log_softmax(-1) - plain.logits.log_softmax(-1)).abs().max()
                    assert off < TOLERANCE, (stage, rule, length)
                    scale = plain.reads[0].abs().max()
                    assert (fast.reads[0] - plain.reads[0]).abs().max() < TOLERANCE * scale, (stage, rule)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_check_at_loading_refuses_what_is_wrong_and_nothing_else(name: str) -> None:
    """The bridge, which that check asks too, needs files and a tokenizer that these models lack: not compared here."""
    assert set(self_check(model_of(name)).refused) == ({"tree"} if name == "gpt_neo (local)" else set())


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "olmo2", "gpt_neox", "opt"])
def test_hook_points_are_those_of_transformer_lens(name: str, tmp_path) -> None:
    """What is read under a name is what transformer-lens' bridge caches under it."""
    network = build(name)
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(tmp_path)
    tokenizer = tf.AutoTokenizer.from_pretrained(MODEL_DIR)
    model = from_network(str(tmp_path), network, tokenizer, weights_sha256=name)
    ids = torch.tensor(contexts(8))
    _, cache = boot_bridge(model).run_with_cache(ids)
    compared = 0
    for stage in (*STAGES, "hook_resid_post"):
        hook = parse_hook(f"blocks.1.{stage}", LAYERS)
        if hook.name not in cache or (stage == "hook_resid_mid" and name in PARALLEL):
            continue
        seen: list[torch.Tensor] = []
        with torch.no_grad(), reading(model, hook, lambda t, seen=seen: seen.append(t.clone())):
            model.network(input_ids=ids, use_cache=False)
        theirs = cache[hook.name].reshape(seen[0].shape)
        assert (seen[0] - theirs).abs().max() < 1e-4 * theirs.abs().max(), hook.name
        compared += 1
    assert compared >= 5


def test_a_window_that_bites_only_far_along_a_tree_is_found() -> None:
    """GPT-Neo with a window of 16: exact for few copies, wrong for many, which is what the check must look at."""
    config = tf.GPTNeoConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=16,
        max_position_embeddings=512,
        initializer_range=0.15,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model = from_network("neo", network.requires_grad_(False), None, weights_sha256="neo")
    forward, book = Forward(model, parse_hook("blocks.0.hook_resid_pre", 2), []), LayoutBook()
    hosts = forward.hosts(contexts(8), 7)
    few, many = moved(hosts, 4), moved(hosts, 60)
    book.check(forward, hosts, few, forward.run(hosts, few, "tree"), "tree")
    with pytest.raises(LayoutRefused):
        book.check(forward, hosts, many, forward.run(hosts, many, "tree"), "tree")
    book.refuse(model, "tree")
    assert choose(model, 7, 1, 8, book.refused(model)).rule == "batch"


def test_a_recurrent_model_runs_by_whole_passes() -> None:
    config = tf.MambaConfig(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, state_size=4, initializer_range=0.2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = tf.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model = from_network("mamba", network, None, weights_sha256="mamba")
    assert not model.has_cache
    assert not self_check(model).refused
    assert choose(model, 7, 1, 8).rule == "full"
    forward = Forward(model, parse_hook("blocks.1.hook_resid_pre", 3), [parse_hook("blocks.2.hook_resid_post", 3)])
    hosts = forward.hosts(contexts(8), 7)
    vectors = moved(hosts, 3)
    output = forward.run(hosts, vectors, "full")
    # By hand: the model's own pass with one token of the stream replaced.
    for copy in range(3):

        def put(module, args, kwargs, copy=copy):
            stream = (args[0] if args else kwargs["hidden_states"]).clone()
            stream[:, 7] = vectors[:, copy]
            return ((stream, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": stream})

        handle = model.layers[1].register_forward_pre_hook(put, with_kwargs=True)
        logits = network(input_ids=torch.tensor(contexts(8))).logits[:, -1]
        handle.remove()
        assert (logits - output.logits[:, copy]).abs().max() < 1e-5
    assert float(kl(output.logits[0, 0], output.logits[0]).max()) > 1e-3


def test_a_block_that_normalises_after_adding_has_no_parts_to_write() -> None:
    """OPT-350m's order: what attention and MLP give do not sum to what the block adds, so they are not offered."""
    config = FAMILIES["opt"]()
    config.do_layer_norm_before = False
    network = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().requires_grad_(False)
    model = from_network("opt", network, None, weights_sha256="opt-post")
    with pytest.raises(HookError, match=r"cannot be found in 'opt'"):
        width(model, parse_hook("blocks.1.hook_attn_out", LAYERS))


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_in_float64_the_hot_path_is_the_plain_pass(name: str) -> None:
    """LayerNorm families with attention in float64: what differs is the order of float64 sums."""
    network = build(name, torch.float64)
    network.set_attn_implementation("sdpa")
    model = from_network(name, network, None, weights_sha256=name)
    forward = Forward(model, parse_hook("blocks.1.hook_resid_pre", LAYERS), [])
    hosts = forward.hosts(contexts(8), 5)
    vectors = moved(hosts, 20).double()
    plain = forward.full(hosts, vectors).logits
    for rule in RULES:
        assert (forward.run(hosts, vectors, rule).logits - plain).abs().max() < 1e-11
