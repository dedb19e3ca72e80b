"""Gradient pursuit against scikit-learn's orthogonal matching pursuit, and on sums whose parts are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import OrthogonalMatchingPursuit

from engine.dictionaries.pursuit import Code, Dictionary, pursue


def atoms(n: int, d: int, seed: int, lengths: bool = False) -> torch.Tensor:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if lengths:
        rows *= np.random.default_rng(seed + 1).uniform(0.3, 3, (n, 1))
    return torch.from_numpy(rows.astype(np.float32))


def rebuilt(code: Code, dictionary: Dictionary) -> np.ndarray:
    return code.weights @ dictionary.atoms(code.support)


def test_a_sparse_sum_is_taken_apart_into_its_own_parts() -> None:
    """With many more dimensions than parts, the greedy choice is the right one; float32 atoms, so 1e-5."""
    rng = np.random.default_rng(0)
    dictionary = Dictionary(atoms(400, 256, 1, lengths=True))
    for signed in (False, True):
        parts = [int(i) for i in rng.choice(400, 5, replace=False)]
        weights = rng.uniform(1, 3, 5) * (rng.choice([-1, 1], 5) if signed else 1)
        vector = weights @ dictionary.atoms(parts)
        code = pursue(vector, dictionary, 5, signed=signed, steps=200)[-1]
        assert set(code.support) == set(parts)
        found = dict(zip(code.support, code.weights, strict=True))
        assert [found[i] for i in parts] == pytest.approx(list(weights), rel=1e-5)
        assert code.unexplained < 1e-9


def test_with_many_steps_it_is_orthogonal_matching_pursuit() -> None:
    dictionary = Dictionary(atoms(300, 64, 2))
    matrix = dictionary.atoms(range(300)).T
    for seed in range(5):
        vector = np.random.default_rng(10 + seed).standard_normal(64)
        codes = pursue(vector, dictionary, 12, signed=True, steps=2000)
        for k in (1, 4, 12):
            theirs = OrthogonalMatchingPursuit(n_nonzero_coefs=k, fit_intercept=False).fit(matrix, vector)
            assert set(codes[k - 1].support) == set(np.flatnonzero(theirs.coef_))
            ours = np.zeros(300)
            ours[list(codes[k - 1].support)] = codes[k - 1].weights
            assert np.abs(ours - theirs.coef_).max() < 1e-5
            left = ((vector - theirs.predict(matrix)) ** 2).sum() / (vector**2).sum()
            assert codes[k - 1].unexplained == pytest.approx(left, rel=1e-6)


def test_one_step_each_comes_close_to_least_squares() -> None:
    """The published algorithm: a little worse than orthogonal matching pursuit, never better by more than rounding."""
    dictionary = Dictionary(atoms(300, 64, 3))
    matrix = dictionary.atoms(range(300)).T
    vector = np.random.default_rng(0).standard_normal(64)
    theirs = OrthogonalMatchingPursuit(n_nonzero_coefs=12, fit_intercept=False).fit(matrix, vector)
    best = float(((vector - theirs.predict(matrix)) ** 2).sum() / (vector**2).sum())
    one = pursue(vector, dictionary, 12, signed=True)[-1].unexplained
    assert best * 0.9 < one < best * 1.5


@pytest.mark.parametrize("signed", [False, True])
def test_each_further_atom_leaves_less_and_what_is_said_to_be_left_is_left(signed: bool) -> None:
    dictionary = Dictionary(atoms(200, 32, 4, lengths=True))
    for seed in range(20):
        vector = np.random.default_rng(seed).standard_normal(32)
        codes = pursue(vector, dictionary, 30, signed=signed)
        left = [code.unexplained for code in codes]
        assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(left))
        for code in codes:
            error = vector - rebuilt(code, dictionary)
            assert code.unexplained == pytest.approx((error @ error) / (vector @ vector), rel=1e-9, abs=1e-12)
            assert signed or (code.weights >= 0).all()


def test_signs_are_found_and_forbidden_atoms_are_not_used() -> None:
    rows = torch.eye(4)
    dictionary = Dictionary(rows)
    vector = np.array([1.0, -3.0, 0.5, 0.0])
    signed = pursue(vector, dictionary, 4, signed=True)[-1]
    assert dict(zip(signed.support, signed.weights, strict=True)) == pytest.approx({1: -3, 0: 1, 2: 0.5})
    positive = pursue(vector, dictionary, 4)[-1]
    assert set(positive.support) == {0, 2}
    assert positive.unexplained == pytest.approx(9 / 10.25)
    assert 1 not in pursue(vector, dictionary, 4, signed=True, without=[1])[-1].support
    assert pursue(np.zeros(4), dictionary, 3) == []


def test_a_centred_dictionary_with_scales_is_that_of_its_atoms() -> None:
    rng = np.random.default_rng(5)
    rows = torch.from_numpy((rng.standard_normal((50, 16)) + 2).astype(np.float32))
    scale = rng.uniform(0.5, 2, 50)
    dictionary = Dictionary(rows, scale, centred=True)
    whole = (rows.double().numpy() - rows.double().numpy().mean(1, keepdims=True)) * scale[:, None]
    assert np.abs(dictionary.atoms(range(50)) - whole).max() < 1e-12
    assert np.abs(dictionary.lengths - np.linalg.norm(whole, axis=1)).max() < 1e-5
    vector = rng.standard_normal(16)
    vector -= vector.mean()
    assert np.abs(dictionary.products(vector) - whole @ vector / np.linalg.norm(whole, axis=1)).max() < 1e-5
