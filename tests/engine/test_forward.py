"""The hot path by itself: what it must leave alone, and what it must agree with."""

from __future__ import annotations

import pytest
import torch

from engine.activations import activations
from engine.crosscheck import boot_bridge, self_check
from engine.forward import Forward
from engine.hooks import default_read, hook_names, parse_hook
from engine.metrics import kl
from engine.models import Model, load_model
from engine.recipe import ModelSection
from engine.shards import Rule

IDS = [0, 301, 77, 1200, 45, 9, 830, 17]


def forward_at(model: Model, write: str, reads: list[str] | None = None) -> Forward:
    names = reads if reads is not None else [default_read(model.n_layers)]
    return Forward(model, parse_hook(write, model.n_layers), [parse_hook(n, model.n_layers) for n in names])


@pytest.mark.parametrize("rule", ["tree", "batch"])
@pytest.mark.parametrize("name", ["embedded", "llama"])
def test_suffix_pass_agrees_with_full_passes_at_every_hook(
    name: str, rule: Rule, request: pytest.FixtureRequest
) -> None:
    """Two contexts at once; with the write at the first, a middle and the last token."""
    model: Model = request.getfixturevalue(name)
    rng = torch.Generator().manual_seed(0)
    for hook in hook_names(model.n_layers):
        forward = forward_at(model, hook)
        for position in (0, 3, 7):
            hosts = forward.hosts([IDS, IDS[::-1]], position)
            vectors = hosts.raw[:, None] + torch.randn(2, 5, hosts.raw.shape[1], generator=rng)
            fast, plain = forward.run(hosts, vectors, rule), forward.full(hosts, vectors)
            assert (fast.logits.log_softmax(-1) - plain.logits.log_softmax(-1)).abs().max() < 2e-5
            assert (fast.reads[0] - plain.reads[0]).abs().max() < 5e-5


def test_the_model_is_untouched_afterwards(embedded: Model) -> None:
    ids = torch.tensor([IDS])
    before = embedded.network(input_ids=ids).logits

    def hooks() -> list[tuple[int, int]]:
        return [(len(layer._forward_hooks), len(layer._forward_pre_hooks)) for layer in embedded.layers]

    hooks_before = hooks()
    forward = forward_at(embedded, "blocks.2.hook_resid_pre")
    hosts = forward.hosts([IDS], 5)
    for rule in ("tree", "batch", "full"):
        forward.run(hosts, torch.randn(1, 3, embedded.d_model), rule)
        with pytest.raises(RuntimeError):
            forward.run(hosts, torch.randn(1, 3, embedded.d_model + 1), rule)
    assert torch.equal(embedded.network(input_ids=ids).logits, before)
    assert all("forward" not in layer.__dict__ for layer in embedded.layers)
    assert hooks() == hooks_before


def test_only_the_chosen_position_changes(embedded: Model) -> None:
    """Bit-equal at the hook everywhere else, and in the logits of every earlier position."""
    position, hook = 4, parse_hook("blocks.2.hook_resid_pre", 6)
    seen: list[torch.Tensor] = []

    def run(delta: float) -> torch.Tensor:
        def edit(module, args):
            hidden = args[0].clone()
            hidden[:, position] += delta
            return (hidden, *args[1:])

        handle = embedded.layers[2].register_forward_pre_hook(edit)
        after = embedded.layers[2].register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
        try:
            return embedded.network(input_ids=torch.tensor([IDS])).logits
        finally:
            handle.remove()
            after.remove()

    clean, moved = run(0.0), run(1.0)
    others = [i for i in range(len(IDS)) if i != position]
    assert torch.equal(seen[0][:, others], seen[1][:, others])
    assert torch.equal(clean[:, :position], moved[:, :position])
    # And the hot path leaves the later positions' own residuals at the hook as the clean run had them.
    forward = Forward(embedded, hook, [])
    hosts = forward.hosts([IDS], position)
    assert torch.equal(hosts.stream[0], seen[0][0])


def test_a_direction_that_what_follows_ignores_changes_nothing(embedded: Model) -> None:
    """The ones-vector is in the null space of every LayerNorm that reads the stream."""
    forward = forward_at(embedded, "blocks.1.hook_resid_pre")
    hosts = forward.hosts([IDS], 7)
    raw = hosts.raw[0]
    kicks = torch.linspace(0, 3 * float(raw.norm()), 11)[:, None] * torch.ones(embedded.d_model) / embedded.d_model**0.5
    logits = forward.run(hosts, (raw + kicks)[None]).logits[0]
    assert float(kl(logits[0], logits).max()) < 1e-9
    # The same length along a direction that is read does change it.
    moved = torch.stack([raw, raw + 3 * raw.norm() * torch.eye(embedded.d_model)[0]])
    other = forward.run(hosts, moved[None]).logits[0]
    assert float(kl(other[0], other[1:])) > 1e-2


def test_basis_is_found_by_asking_the_model(embedded: Model, llama: Model) -> None:
    assert embedded.centred
    assert not llama.centred


@pytest.mark.parametrize("rule", ["tree", "batch", "full"])
def test_derivative_agrees_with_central_differences(embedded: Model, rule: Rule) -> None:
    forward = forward_at(embedded, "blocks.1.hook_resid_pre")
    hosts = forward.hosts([IDS, IDS[::-1]], 6)
    tangents = torch.randn(2, 4, embedded.d_model, generator=torch.Generator().manual_seed(1))
    _, derivative = forward.derivative(hosts, hosts.raw, tangents, rule)
    step = 1e-2
    plus = forward.run(hosts, hosts.raw[:, None] + step * tangents, rule).logits
    minus = forward.run(hosts, hosts.raw[:, None] - step * tangents, rule).logits
    difference = (plus - minus) / (2 * step)
    # Third-order term of the difference quotient plus float32 rounding over 2 x step.
    assert (derivative - difference).abs().max() < 5e-3 * derivative.abs().max()


def test_activations_are_those_of_a_whole_pass(embedded: Model) -> None:
    ids = torch.tensor([IDS, IDS[::-1]])
    hidden = embedded.network.transformer(input_ids=ids, output_hidden_states=True).hidden_states
    found = activations(embedded, parse_hook("blocks.3.hook_resid_pre", 6), ids, 5)
    assert (found - hidden[3][:, 5]).abs().max() < 1e-5


def test_transformer_lens_agrees_on_a_clean_and_a_perturbed_run(embedded: Model, llama: Model) -> None:
    for model in (embedded, llama):
        check = self_check(model)
        assert check.full_forward < 3e-5  # float32 layouts over three tokens of suffix
        assert not check.refused
        assert check.bridge is not None, check.bridge_problem
        assert check.bridge < 1e-4


def test_basis_is_that_of_transformer_lens() -> None:
    """Its processed basis: writing weights centred, layer norms folded, on a model loaded only for this."""
    model = load_model(ModelSection(device="cpu"))
    forward = forward_at(model, "blocks.3.hook_resid_pre")
    ours = model.to_basis(forward.hosts([IDS], 5).raw[0], forward.write).clone()
    bridge = boot_bridge(model)
    bridge.enable_compatibility_mode()  # folds the shared weights in place: this model is of no further use
    _, cache = bridge.run_with_cache(torch.tensor([IDS]), names_filter="blocks.3.hook_resid_pre")
    processed = cache["blocks.3.hook_resid_pre"][0, 5]
    assert processed.mean().abs() < 1e-5
    assert (ours - processed).abs().max() < 2e-5


def test_an_arrangement_that_is_wrong_is_refused(embedded: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Forward.run

    def wrong(self: Forward, hosts, vectors, rule):
        output = real(self, hosts, vectors, rule)
        bent = 0.01 * torch.arange(output.logits.shape[-1]) if rule == "tree" else 0
        return type(output)(output.logits + bent, output.reads)

    monkeypatch.setattr(Forward, "run", wrong)
    assert set(self_check(embedded).refused) == {"tree"}


def test_hook_names_follow_the_network() -> None:
    places = [parse_hook(n, 6).place for n in hook_names(6)]
    assert places == sorted(places)
    assert parse_hook("blocks.1.hook_resid_pre", 6).place == parse_hook("blocks.0.hook_resid_post", 6).place
    assert len(set(places)) == 6 * 6 + 1
