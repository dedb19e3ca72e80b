"""The hot path by itself: what it must leave alone, and what it must agree with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.crosscheck import boot_bridge, self_check
from engine.errors import LoadError
from engine.forward import Forward, activations
from engine.hooks import default_read, hook_names, parse_hook
from engine.metrics import kl
from engine.models import Model, load_model
from engine.recipe import ModelSection

IDS = [0, 301, 77, 1200, 45, 9, 830, 17]


def forward_at(model: Model, write: str, reads: list[str] | None = None) -> Forward:
    names = reads if reads is not None else [default_read(model.n_layers)]
    return Forward(model, parse_hook(write, model.n_layers), [parse_hook(n, model.n_layers) for n in names])


@pytest.mark.parametrize("name", ["embedded", "llama"])
def test_suffix_pass_agrees_with_full_passes_at_every_hook(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    rng = torch.Generator().manual_seed(0)
    for hook in hook_names(model.n_layers):
        forward = forward_at(model, hook)
        for position in (0, 3, 7):
            host = forward.host(IDS, position)
            vectors = host.raw + torch.randn(5, model.d_model, generator=rng)
            fast, plain = forward.run(host, vectors), forward.full(IDS, position, vectors)
            assert (fast.logits.log_softmax(-1) - plain.logits.log_softmax(-1)).abs().max() < 2e-5
            assert (fast.reads[0] - plain.reads[0]).abs().max() < 5e-5


def test_the_model_is_untouched_afterwards(embedded: Model) -> None:
    ids = torch.tensor([IDS])
    before = embedded.network(input_ids=ids).logits

    def hooks() -> list[tuple[int, int]]:
        return [(len(layer._forward_hooks), len(layer._forward_pre_hooks)) for layer in embedded.layers]

    hooks_before = hooks()
    forward = forward_at(embedded, "blocks.2.hook_resid_pre")
    forward.run(forward.host(IDS, 5), torch.randn(3, embedded.d_model))
    with pytest.raises(RuntimeError):
        forward.run(forward.host(IDS, 5), torch.randn(3, embedded.d_model + 1))
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
    host = forward.host(IDS, position)
    assert torch.equal(host.later, seen[0][0, position + 1 :])


def test_a_direction_that_what_follows_ignores_changes_nothing(embedded: Model) -> None:
    """The ones-vector is in the null space of every LayerNorm that reads the stream."""
    forward = forward_at(embedded, "blocks.1.hook_resid_pre")
    host = forward.host(IDS, 7)
    kicks = (
        torch.linspace(0, 3 * float(host.raw.norm()), 11)[:, None]
        * torch.ones(embedded.d_model)
        / embedded.d_model**0.5
    )
    logits = forward.run(host, host.raw + kicks).logits
    assert float(kl(logits[0], logits).max()) < 1e-9
    # The same length along a direction that is read does change it.
    other = forward.run(host, torch.stack([host.raw, host.raw + 3 * host.raw.norm() * torch.eye(embedded.d_model)[0]]))
    assert float(kl(other.logits[0], other.logits[1:])) > 1e-2


def test_basis_is_found_by_asking_the_model(embedded: Model, llama: Model) -> None:
    assert embedded.centred
    assert not llama.centred


def test_derivative_agrees_with_central_differences(embedded: Model) -> None:
    forward = forward_at(embedded, "blocks.1.hook_resid_pre")
    host = forward.host(IDS, 6)
    tangents = torch.randn(4, embedded.d_model, generator=torch.Generator().manual_seed(1))
    _, derivative = forward.derivative(host, host.raw, tangents)
    step = 1e-2
    plus = forward.run(host, host.raw + step * tangents).logits
    minus = forward.run(host, host.raw - step * tangents).logits
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
        assert check.full_forward < 1e-5
        assert check.bridge is not None, check.bridge_problem
        assert check.bridge < 1e-4


def test_basis_is_that_of_transformer_lens() -> None:
    """Its processed basis: writing weights centred, layer norms folded, on a model loaded only for this."""
    model = load_model(ModelSection(device="cpu"))
    forward = forward_at(model, "blocks.3.hook_resid_pre")
    ours = model.to_basis(forward.host(IDS, 5).raw).clone()
    bridge = boot_bridge(model)
    bridge.enable_compatibility_mode()  # folds the shared weights in place: this model is of no further use
    _, cache = bridge.run_with_cache(torch.tensor([IDS]), names_filter="blocks.3.hook_resid_pre")
    processed = cache["blocks.3.hook_resid_pre"][0, 5]
    assert processed.mean().abs() < 1e-5
    assert (ours - processed).abs().max() < 2e-5


def test_a_model_whose_fast_path_is_wrong_is_refused(embedded: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Forward.run

    def wrong(self: Forward, host, vectors):
        output = real(self, host, vectors)
        return type(output)(output.logits + 0.01 * torch.arange(output.logits.shape[-1]), output.reads)

    monkeypatch.setattr(Forward, "run", wrong)
    with pytest.raises(LoadError, match="curves would be wrong"):
        self_check(embedded)


def test_hook_names_follow_the_stream() -> None:
    points = [parse_hook(n, 6).boundary for n in hook_names(6)]
    assert points == sorted(points)
    assert parse_hook("blocks.1.hook_resid_pre", 6).boundary == parse_hook("blocks.0.hook_resid_post", 6).boundary
    assert np.unique(points).tolist() == list(range(7))
