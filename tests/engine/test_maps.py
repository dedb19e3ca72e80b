"""Maps, mixtures and searches on the bundled model, against plain Hugging Face in float64 and closed forms.

Tolerances: the model runs in float32; KL differs from float64 by up to 1e-4 relative and 1e-6 nats (measured 2e-5 and
1e-7), L2 by 1e-4 relative.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.ascent import ascend
from engine.drawing import Base
from engine.errors import DirectionError, RecipeError
from engine.experiments.plane import anchors_of, plane_of
from engine.experiments.triangle import minimum_of
from engine.laboratory import Laboratory
from engine.maps import neighbours, square, ternary
from engine.models import Model
from engine.protocol import Held
from engine.recipe import parse_recipe
from engine.results import RowResult
from engine.superellipse import Contour, contour, even, fit
from engine.workshop import Workshop
from tests.conftest import PROMPT
from tests.engine.running import outcome
from tests.reference import Reference, kl

WRITE, READ = "blocks.1.hook_resid_pre", "blocks.5.hook_resid_post"


def lab_of(model: Model, workshop: Workshop, held: Held | None = None, **data) -> Laboratory:
    recipe = {"site": {"prompt": PROMPT}, "population": {"n": 150}, **data}
    return Laboratory(model, parse_recipe(recipe), workshop, held or Held())


class Pushed:
    """The plain run of a laboratory's prompt, and what pushes of its activation give."""

    def __init__(self, lab: Laboratory, reference: Reference) -> None:
        self.lab, self.reference = lab, reference
        self.base = self.at(np.zeros(lab.model.d_model))

    def at(self, delta: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        ids, position = list(self.lab.where.token_ids), self.lab.where.position
        logits, reads = self.reference.run(ids, position, position, WRITE, [READ], delta)
        return logits, reads[READ].numpy()


# Lattices


@pytest.mark.parametrize("resolution", [2, 5, 6, 8, 12])
def test_a_lattice_has_every_place_once_and_coarse_ones_first(resolution: int) -> None:
    for places, many in (
        (ternary(resolution), (resolution + 1) * (resolution + 2) // 2),
        (square(resolution), (resolution + 1) ** 2),
    ):
        assert len({p.at for p in places}) == len(places) == many
        strides = [p.stride for p in places]
        assert strides == sorted(strides, reverse=True)
        assert strides[-1] == 1
        assert all(c % p.stride == 0 for p in places for c in p.at)
    assert all(sum(p.at) == resolution for p in ternary(resolution))
    # Corners are of the first level, so that a map has its extent from the start.
    first = {p.at for p in ternary(resolution) if p.stride == ternary(resolution)[0].stride}
    assert {(resolution, 0, 0), (0, resolution, 0), (0, 0, resolution)} <= first


def test_neighbours_are_one_step_of_weight_away() -> None:
    assert set(neighbours((3, 0, 1))) == {(4, -1, 1), (4, 0, 0), (2, 1, 1), (2, 0, 2), (3, 1, 0), (3, -1, 2)}


# Plane


def test_a_plane_is_what_overwriting_the_activation_gives(
    embedded: Model, workshop: Workshop, reference: Reference
) -> None:
    lab = lab_of(embedded, workshop, experiment="plane", options={"resolution": 4})
    _, _, tables = outcome(lab)
    rows, pushed = tables["plane"], Pushed(lab, reference)
    assert len(rows) == 25
    base = lab.site
    ends = [lab.draw(spec, base, i).vector.astype(np.float64) for spec, i in lab.direction_order]
    # Gram and Schmidt by hand.
    e1 = ends[0] / np.linalg.norm(ends[0])
    e2 = ends[1] - (ends[1] @ e1) * e1
    e2 /= np.linalg.norm(e2)
    anchors = [pushed.base, pushed.at(ends[0]), pushed.at(ends[1])]
    for row in rows[::6]:
        logits, read = pushed.at(row["u"] * e1 + row["v"] * e2)
        for a, (theirs, at) in enumerate(anchors):
            assert row[f"kl_{a}"] == pytest.approx(kl(theirs, logits), rel=1e-4, abs=1e-6)
            assert row[f"l2_{a}"] == pytest.approx(float(np.linalg.norm(read - at)), rel=1e-4, abs=1e-4)
        assert row["nearest"] == "ABC"[int(np.argmin([kl(theirs, logits) for theirs, _ in anchors]))]
        p = logits.softmax(-1)
        best = int(p.argmax())
        assert row["tokens"][0] == embedded.strings([best])[0]
        assert row["probabilities"][0] == pytest.approx(float(p[best]), rel=1e-4)


def test_on_the_sphere_every_place_of_a_plane_is_as_long_as_the_base(
    embedded: Model, workshop: Workshop, reference: Reference
) -> None:
    lab = lab_of(embedded, workshop, experiment="plane", options={"resolution": 2}, path={"mode": "sphere"})
    _, _, tables = outcome(lab)
    x = lab.site.vector.astype(np.float64)
    axes, _ = plane_of([lab.draw(spec, lab.site, i).vector for spec, i in lab.direction_order])
    row, pushed = tables["plane"][0], Pushed(lab, reference)
    there = x + row["u"] * axes[0] + row["v"] * axes[1]
    logits, _ = pushed.at(there * np.linalg.norm(x) / np.linalg.norm(there) - x)
    assert row["kl_0"] == pytest.approx(kl(pushed.base[0], logits), rel=1e-4, abs=1e-6)
    norms = [row["norm"] for row in tables["anchors"]]
    assert norms == pytest.approx([np.linalg.norm(x)] * 3)


def test_shares_of_flat_ground_are_counted_nearest_anchor_by_anchor() -> None:
    anchors = [{"u": 0.0, "v": 0.0}, {"u": 4.0, "v": 0.0}, {"u": 0.0, "v": 4.0}]
    at = [(0, 0), (1, 0), (0, 1), (3, 0), (4, 0), (0, 3), (0, 4), (4, 4), (-1, 0)]
    # Near A everything is like A but one place; near B it is like A all over; near C it is like C.
    like = ["A", "A", "B", "A", "A", "C", "C", "A", "A"]
    rows = [
        {"u": float(u), "v": float(v), **{f"kl_{a}": 0.0 if name == letter else 1.0 for a, letter in enumerate("ABC")}}
        for (u, v), name in zip(at, like, strict=True)
    ]
    found = anchors_of(anchors, rows, 0.5)
    assert [row["points"] for row in found] == [3, 2, 2], "what lies outside of the triangle does not count"
    assert [row["flat_share"] for row in found] == pytest.approx([2 / 3, 0, 1])
    assert [row["own_share"] for row in found] == pytest.approx([2 / 3, 0, 1])


def test_a_plane_needs_three_places_that_are_no_line(embedded: Model, workshop: Workshop) -> None:
    with pytest.raises(DirectionError, match="one line"):
        plane_of([np.array([1.0, 0.0, 0.0]), np.array([-2.0, 0.0, 0.0])])
    with pytest.raises(RecipeError, match="two directions"):
        outcome(lab_of(embedded, workshop, experiment="plane", directions=[{"kind": "random", "count": 1}]))


# Triangle


def test_the_minimum_of_a_triangle_is_found_and_ties_are_shared() -> None:
    rows = [{"i": p.at[0], "j": p.at[1], "k": p.at[2], "threshold": 40.0} for p in ternary(4)]
    assert minimum_of(rows)["first_is_lowest"] == pytest.approx(1 / 15)
    assert minimum_of(rows)["first_is_lowest_corner"] == pytest.approx(1 / 3)
    for row in rows:
        row["threshold"] = None if row["j"] == 4 else 50.0 - 2 * row["i"]
    found = minimum_of(rows)
    assert found["first_is_lowest"] == found["first_is_lowest_corner"] == 1
    assert found["first_is_local"] is True
    assert (found["lowest"], found["corner_0"], found["corner_1"], found["corner_2"]) == (42, 42, None, 50)
    next(row for row in rows if (row["i"], row["j"]) == (3, 1))["threshold"] = 41.0
    found = minimum_of(rows)
    assert (found["i"], found["j"], found["k"]) == (3, 1, 0)
    assert not found["first_is_local"]
    assert found["a_corner_is_lowest"] == 0


def test_a_triangle_needs_corners(embedded: Model, workshop: Workshop) -> None:
    lab = lab_of(embedded, workshop, experiment="triangle", directions=[{"kind": "random", "count": 1}])
    with pytest.raises(RecipeError, match="three targets"):
        outcome(lab)


# Interaction


def test_interaction_is_the_second_difference_of_plain_runs(
    embedded: Model, workshop: Workshop, reference: Reference
) -> None:
    lab = lab_of(embedded, workshop, experiment="interaction", options={"resolution": 2})
    _, _, tables = outcome(lab)
    rows, pushed = {(r["i"], r["j"]): r for r in tables["interaction"]}, Pushed(lab, reference)
    u = []
    for spec, index in lab.direction_order:
        d = lab.draw(spec, lab.site, index).vector.astype(np.float64)
        u.append(d / np.linalg.norm(d))
    (base, start), top = pushed.base, int(pushed.base[0].argmax())

    def effects(a: float, b: float) -> tuple[dict[str, float], np.ndarray]:
        logits, read = pushed.at(a * u[0] + b * u[1])
        log_prob = float(logits.log_softmax(-1)[top] - base.log_softmax(-1)[top])
        return {"kl": kl(base, logits), "l2": float(np.linalg.norm(read - start)), "log_prob": log_prob}, read

    for i, j in ((1, 1), (2, 1)):
        row = rows[i, j]
        (both, s_both), (first, s_first), (second, s_second) = (
            effects(a, b) for a, b in ((row["alpha"], row["beta"]), (row["alpha"], 0), (0, row["beta"]))
        )
        for name in both:
            assert row[name] == pytest.approx(both[name], rel=1e-4, abs=1e-5)
            excess = row.get(f"{name}_excess", both[name] - first[name] - second[name])
            assert excess == pytest.approx(both[name] - first[name] - second[name], rel=1e-3, abs=1e-3)
        beyond = float(np.linalg.norm(s_both - s_first - s_second + start))
        assert row["stream_excess"] == pytest.approx(beyond, rel=1e-3)
        alone = np.linalg.norm(s_first - start) + np.linalg.norm(s_second - start)
        assert row["stream_share"] == pytest.approx(beyond / alone, rel=1e-3)
    # Close to the base KL is its curvature's parabola, by differences of the plain runs in float64.
    small = 1e-3
    near, one, other = (effects(a, b)[0]["kl"] for a, b in ((small, small), (small, 0), (0, small)))
    row = rows[2, 1]
    assert row["kl_quadratic_excess"] / row["alpha"] / row["beta"] == pytest.approx(
        (near - one - other) / small**2, rel=0.01
    )
    assert rows[0, 2]["stream_share"] == rows[2, 0]["stream_share"] == 0
    with pytest.raises(RecipeError, match="sphere"):
        outcome(lab_of(embedded, workshop, experiment="interaction", path={"mode": "sphere"}))


# Superellipses


def broken(p: float, a: float, b: float, cosine: float, angles: np.ndarray) -> np.ndarray:
    """Radii at which unit mixtures of two unit vectors meet |a / A|^p + |b / B|^p = 1."""
    c, s = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    length = np.sqrt(1 + 2 * c * s * cosine)
    return length * (np.abs(c / a) ** p + np.abs(s / b) ** p) ** (-1 / p)


ROUND = np.arange(32) * 11.25


@pytest.mark.parametrize("p", [0.8, 1.5, 2.0, 2.6, 7.0])
@pytest.mark.parametrize("cosine", [0.0, -0.45])
def test_a_superellipse_has_its_exponent(p: float, cosine: float) -> None:
    whole = contour(ROUND, broken(p, 3.0, 5.0, cosine, ROUND), cosine, 100.0)
    assert fit(whole).p == pytest.approx(p, rel=1e-6)
    assert fit(even(whole)).p == pytest.approx(p, rel=1e-6)
    assert fit(even(whole)).residual == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tilt", [0.6, -0.6])
def test_any_quadratic_response_has_two_once_its_cross_term_is_taken_out(tilt: float) -> None:
    c, s = np.cos(np.radians(ROUND)), np.sin(np.radians(ROUND))
    radius = (c * c / 9 + s * s / 25 + 2 * tilt * c * s / 15) ** -0.5
    whole = contour(ROUND, radius, 0.0, 100.0)
    assert fit(even(whole)).p == pytest.approx(2, rel=1e-9)
    alone = fit(whole).p
    assert alone < 1.5 if tilt > 0 else alone > 4, "one quadrant is told another exponent by the tilt alone"


def test_what_never_breaks_counts_where_the_fit_says_that_it_would_have() -> None:
    angles = np.arange(9) * 11.25
    radius = broken(4.0, 3.0, 3.0, 0.0, angles)
    hidden = np.where(radius > 3.4, np.inf, radius)
    assert np.isinf(hidden).sum() == 3
    assert fit(contour(angles, hidden, 0.0, 3.4)).p == pytest.approx(4, rel=1e-3)
    half = np.where(ROUND == 180, np.inf, broken(2.0, 3.0, 3.0, 0.0, ROUND))
    assert np.isnan(fit(even(contour(ROUND, half, 0.0, 5.0))).p), "of an inert opposite only a bound is known"
    never = contour(angles, np.where(angles == 90, np.inf, radius), 0.0, 9.0)
    assert np.isnan(fit(never).p), "without a pure threshold there is nothing to compare with"
    square_ = Contour(angles, 1 / np.maximum(np.cos(np.radians(angles)), np.sin(np.radians(angles))), np.ones(9))
    assert fit(Contour(angles, square_.size, square_.size)).p > 20


# Searching


def test_the_gradient_is_that_of_a_plain_pass(embedded: Model, workshop: Workshop, reference: Reference) -> None:
    """Against autograd through the reference in float64; float32 gradients agree to 1e-4 of their length."""
    lab = lab_of(embedded, workshop)
    hosts = lab.hosts_of([lab.site])
    delta = np.random.default_rng(0).standard_normal(embedded.d_model)
    delta *= 2 / np.linalg.norm(delta)
    row = lab.base_row(lab.site, hosts.raw[0])
    vectors = torch.stack([row, row + torch.from_numpy(delta)]).float()[None]
    for rule in ("tree", "batch", "full"):
        scores, found = lab.forward.gradient(hosts, vectors, lambda output: output.logits.log_softmax(-1)[..., 7], rule)
        leaf = torch.from_numpy(delta).requires_grad_(True)

        def add(module, args, kwargs, leaf=leaf):
            hidden = args[0] if args else kwargs["hidden_states"]
            moved = torch.cat([hidden[:, :-1], hidden[:, -1:] + leaf], dim=1)
            return ((moved, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": moved})

        handle = reference.blocks[1].register_forward_pre_hook(add, with_kwargs=True)
        try:
            logits = reference.model(input_ids=torch.tensor([lab.where.token_ids]), use_cache=False).logits
        finally:
            handle.remove()
        value = logits[0, -1].log_softmax(-1)[7]
        theirs = torch.autograd.grad(value, leaf)[0].numpy()
        assert float(scores[0, 1]) == pytest.approx(float(value.detach()), rel=1e-5)
        assert np.linalg.norm(found[0, 1].numpy() - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_close_to_the_base_the_search_is_the_power_iteration(
    embedded: Model, workshop: Workshop, reference: Reference
) -> None:
    """Where the response is linear the best score is the leading singular value, found by numpy, times the distance."""
    lab = lab_of(embedded, workshop, path={"mode": "straight"})
    pushed = Pushed(lab, reference)
    step = 1e-4  # central differences in float64
    columns = []
    for i in range(embedded.d_model):
        e = np.zeros(embedded.d_model)
        e[i] = step
        e -= e.mean()  # the basis has no mean
        columns.append((pushed.at(e)[1] - pushed.at(-e)[1]) / (2 * step))
    singular = np.linalg.svd(np.stack(columns, axis=1), compute_uv=False)
    rng = np.random.default_rng(1)
    starts = rng.standard_normal((4, embedded.d_model))
    starts -= starts.mean(1, keepdims=True)
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    at = 0.02
    states = list(ascend(lab, lab.site, starts, at, 60))
    assert states[-1].score.max() / at == pytest.approx(singular[0], rel=0.02)
    assert states[0].score.max() / at < 0.6 * singular[0]


def test_a_search_never_goes_down_and_what_it_keeps_is_what_it_says(embedded: Model, workshop: Workshop) -> None:
    search = {
        "experiment": "search",
        "directions": [{"kind": "isotropic", "count": 2}, {"kind": "sae-feature", "count": 1}],
        "options": {"steps": 12},
        "path": {"steps": 30},
    }
    _, _, tables = outcome(lab_of(embedded, workshop, **search))
    for start in range(3):
        scores = [row["score"] for row in tables["ascent"] if row["start"] == start]
        assert all(b >= a for a, b in pairwise(scores))
        assert scores[-1] > scores[0]
    found = tables["found"]
    assert max(row["threshold"] for row in found) < min(row["threshold_at_start"] for row in found)
    kept = [{"kind": "vector", "label": row["label"], "data": row["vector"]} for row in found]
    curves, _, _ = outcome(
        lab_of(embedded, workshop, directions=kept, bases=[{"kind": "prompt"}], path={"mode": "sphere", "steps": 30})
    )
    for curve, row in zip(curves, found, strict=True):
        assert curve.summary.threshold == pytest.approx(row["threshold"], rel=1e-3)
    rows = np.asarray(lab_of(embedded, workshop).features.rows(range(8)), dtype=np.float64)
    assert np.isfinite(rows).all()
    for row in tables["nearest"]:
        assert abs(row["cosine"]) <= 1
        assert 0 < row["by_chance"] < 1


@pytest.mark.parametrize("at", [0.0, 91.0])
def test_a_search_looks_at_a_place_of_the_path(embedded: Model, workshop: Workshop, at: float) -> None:
    with pytest.raises(RecipeError, match="must lie on the path"):
        outcome(lab_of(embedded, workshop, experiment="search", options={"at": at}))


# Going on


RESUMED = {
    "triangle": ({"options": {"resolution": 4}, "bases": [{"kind": "real-other", "count": 2}]}, (3, 20, 33)),
    "plane": ({"options": {"resolution": 4}, "bases": [{"kind": "real-other", "count": 2}]}, (7, 26, 40)),
    "interaction": ({"options": {"resolution": 4}, "bases": [{"kind": "real-other", "count": 2}]}, (5, 12, 33)),
    "local-optimum": (
        {
            "directions": [{"kind": "sae-feature", "count": 1}, {"kind": "random", "count": 1}],
            "options": {"draws": 2, "angles": [8.1, 30]},
        },
        (3, 13, 22),
    ),
    "combine-features": ({"options": {"sizes": [1, 3], "draws": 3}}, (4, 8, 14)),
    "mixtures": ({"directions": [{"kind": "isotropic", "count": 4}], "options": {"angles": 2}}, (3, 9, 17)),
    "mechanism": (
        {
            "bases": [{"kind": "real-other", "count": 2}],
            "directions": [{"kind": "random", "count": 2}],
            "options": {"each_layer": False, "modes": ["straight"], "parts": ["mlp", "norm"]},
        },
        (1, 10, 30, 45),
    ),
    "search": ({"directions": [{"kind": "isotropic", "count": 2}], "options": {"steps": 3}}, (3, 9)),
}


@pytest.mark.parametrize("name", list(RESUMED))
def test_a_map_goes_on_where_it_stopped(embedded: Model, workshop: Workshop, name: str) -> None:
    data, stops = RESUMED[name]
    data = {"experiment": name, "path": {"steps": 12, **data.pop("path", {})}, **data}

    def rows(held: Held | None = None) -> list[RowResult]:
        lab = lab_of(embedded, workshop, held, **data)
        return [event for event in lab.experiment.run(lab) if isinstance(event, RowResult)]

    whole = rows()
    layout = lab_of(embedded, workshop, **data).layout
    for stop in stops:
        assert stop < len(whole)
        kept: dict[str, list] = {}
        for row in whole[:stop]:
            kept.setdefault(row.table, []).append(row.values)
        assert rows(Held(rows=kept, layout=layout)) == whole[stop:]


def test_a_made_up_base_has_maps_too(embedded: Model, workshop: Workshop) -> None:
    """Its base run is what was written, not the prompt's own: KL is 0 there and nowhere else."""
    lab = lab_of(embedded, workshop, experiment="plane", options={"resolution": 2}, bases=[{"kind": "random"}])
    _, _, tables = outcome(lab)
    base = next(lab.bases())
    assert isinstance(base, Base)
    assert tables["anchors"][0]["norm"] == pytest.approx(float(np.linalg.norm(base.vector)), rel=1e-6)
    assert all(row["kl_0"] >= 0 for row in tables["plane"])
