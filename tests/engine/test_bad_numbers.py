"""Numbers that are none: refused in a sentence, or marked as missing; never a result."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import DirectionError, DirscopeError, LoadError, RecipeError, RunFailedError
from engine.models import Model
from engine.notebook import probe
from tests.conftest import PROMPT

SMALL: dict[str, Any] = {"population": {"n": 40}, "path": {"steps": 8}}
FEW = [{"kind": "isotropic", "count": 2}, {"kind": "random", "count": 1}]


def run(model: Model, spoil: Callable[[Any], object] = lambda network: None, **more: Any) -> Any:
    """Curves of a copy of the bundled model in which something was changed."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        spoil(network)
    return probe(network, PROMPT, tokenizer=model.tokenizer, **{"directions": FEW, **SMALL, **more})


def set_to(value: float, *path: Any) -> Callable[[Any], None]:
    def spoil(network: Any) -> None:
        tensor = network
        for name in path[:-1]:
            tensor = getattr(tensor, name) if isinstance(name, str) else tensor[name]
        tensor[path[-1]] = value

    return spoil


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_weights_that_are_no_numbers_are_refused(embedded: Model, value: float) -> None:
    with pytest.raises(DirscopeError, match="NaN or infinite"):
        run(embedded, set_to(value, "transformer", "h", 2, "mlp", "c_fc", "weight", (0, slice(None))))


def test_a_token_that_nobody_fed_is_refused_too(embedded: Model) -> None:
    with pytest.raises(LoadError, match="NaN or infinite logits"):
        run(embedded, set_to(np.nan, "transformer", "wte", "weight", (4000, 0)))


def test_a_base_that_is_no_number_is_refused_before_anything_is_drawn_from_it(embedded: Model) -> None:
    position = len(embedded.encode(PROMPT, "auto")) - 1
    with pytest.raises(RunFailedError, match=rf"blocks.1.hook_resid_pre, position {position}, is NaN"):
        run(embedded, set_to(np.nan, "transformer", "wpe", "weight", (position, 0)))


def test_values_that_overflow_are_missing_and_nothing_is_concluded_from_them(embedded: Model) -> None:
    done = run(embedded, path={"steps": 8, "stop": 1e30})
    curves, summary = done.curves, done.summary
    missing = curves[(curves.metric == "kl") & (curves.step > 0)]
    assert missing.value.isna().all()
    assert (curves[(curves.metric == "kl") & (curves.step == 0)].value == 0).all()
    assert summary.threshold.isna().all()
    assert not summary.censored.any()  # whether the level is reached cannot be told
    for column in ("max_slope_step", "plateau_length", "final_kl", "area"):
        assert summary[column].isna().all(), column
    assert not summary.plateau_censored.any()
    assert any("not finite" in warning for warning in done.warnings)


def test_steps_below_rounding_are_marked(embedded: Model) -> None:
    assert any("rounding" in w for w in run(embedded, path={"steps": 8, "stop": 1e-6}).warnings)
    assert not any("rounding" in w for w in run(embedded, path={"steps": 8, "stop": 1.0}).warnings)


@pytest.mark.parametrize(
    ("directions", "says"),
    [
        ({"mine": np.zeros(256, np.float32)}, "no length"),
        ({"mine": np.ones(256, np.float32)}, "no length"),  # only its mean, which the basis takes away
        ({"mine": np.full(256, np.nan, np.float32)}, "NaN or infinity"),
        ({"mine": np.full(256, -np.inf, np.float32)}, "NaN or infinity"),
        ({"mine": 3e38 * np.sign(np.arange(256.0) - 100)}, "NaN or infinity|too long"),
        ({"mine": 1e-40 * np.sign(np.arange(256.0) - 100)}, "no length"),
        ([{"kind": "real-other", "prompt": PROMPT}], "no length"),  # the target is the base
        ([{"kind": "steering", "plus": "happy", "minus": "happy"}], "no length"),
    ],
)
def test_directions_that_are_none_are_refused(embedded: Model, directions: Any, says: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(DirectionError, match=says):
        run(embedded, directions=directions)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_direction_along_the_base_has_no_sphere(embedded: Model, sign: float) -> None:
    base = probe(embedded, PROMPT, directions=FEW, **SMALL).bases[0].vector
    with pytest.raises(DirectionError, match=r"parallel|across"):
        run(embedded, directions={"mine": sign * 0.3 * base}, path={"mode": "sphere", "steps": 5})


def test_half_precision_is_refused_as_it_overflows_at_65504(embedded: Model) -> None:
    with pytest.raises(LoadError, match="float16 cannot be probed: use float32"):
        probe(copy.deepcopy(embedded.network).half(), PROMPT, tokenizer=embedded.tokenizer, directions=FEW, **SMALL)
    with pytest.raises(RecipeError, match=r"model\.dtype"):
        probe("embedded", PROMPT, dtype="float16", directions=FEW, **SMALL)


def test_an_untrained_zero_model_has_no_directions_rather_than_wrong_ones(embedded: Model) -> None:
    def zero(network: Any) -> None:
        for parameter in network.transformer.parameters():
            parameter.zero_()

    with pytest.raises(DirscopeError, match=r"no length|constant|same"):
        run(embedded, zero)
