"""The population: windows, what is dropped, and the typical distance."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from engine import texts
from engine.errors import LoadError, RecipeError, Stopped
from engine.hooks import parse_hook
from engine.laboratory import Laboratory
from engine.models import Model
from engine.randomness import stream
from engine.recipe import PopulationSection, parse_recipe
from engine.statistics import Window, cut_windows, population_index, read_windows, summarise
from engine.texts import read_texts
from engine.workshop import Workshop

TEXTS = [np.arange(start, start + 40, dtype=np.int32) for start in range(100, 1100, 100)]


def test_windows_are_different_and_cut_inside_one_text() -> None:
    windows = cut_windows(TEXTS, Window(n_tokens=6, bos=7, index=5), n=200, seed=0)
    assert windows.shape == (200, 6)
    assert (windows[:, 0] == 7).all()
    assert (np.diff(windows[:, 1:], axis=1) == 1).all()
    assert len({tuple(w) for w in windows}) == 200


def test_windows_come_in_seeded_order_and_all_of_them_where_enough_are_asked_for() -> None:
    texts = [*TEXTS, np.arange(4, dtype=np.int32)]
    windows = cut_windows(texts, Window(n_tokens=6, bos=7, index=5), n=10_000, seed=3)
    every = np.array([(7, *range(start + i, start + i + 5)) for start in range(100, 1100, 100) for i in range(36)])
    assert np.array_equal(windows, every[stream(3, "population/offsets").permutation(len(every))])
    assert windows.dtype == np.int32, "what the population's hash is of"


def test_windows_that_differ_at_the_read_index_alone_are_different() -> None:
    texts = [np.array([1, 2, last, 9], np.int32) for last in (3, 5, 7)]
    assert sorted(cut_windows(texts, Window(4, None, 2), n=10, seed=0)[:, 2].tolist()) == [3, 5, 7]


def test_windows_start_anywhere_in_a_text() -> None:
    starts = cut_windows(TEXTS, Window(5, None, 4), n=300, seed=0)[:, 0] % 100
    # 36 possible offsets, uniformly: the mean of 300 draws without replacement lies near 17.5.
    assert abs(starts.mean() - 17.5) < 3
    assert len(np.unique(starts)) > 30


def test_duplicates_up_to_the_read_index_are_dropped() -> None:
    texts = [np.array([first, 2, last, last], np.int32) for first in (1, 5, 7) for last in (3, 9)]
    windows = cut_windows(texts, Window(4, None, 1), n=10, seed=0)
    assert sorted(tuple(w[:2]) for w in windows) == [(1, 2), (5, 2), (7, 2)]


def test_asking_for_more_windows_keeps_the_earlier_ones() -> None:
    shape = Window(5, None, 4)
    assert np.array_equal(cut_windows(TEXTS, shape, 20, 0), cut_windows(TEXTS, shape, 50, 0)[:20])


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(RecipeError, match="too short"):
        cut_windows(TEXTS, Window(41, None, 40), n=10, seed=0)
    with pytest.raises(RecipeError, match="has 0 different windows"):
        cut_windows([], Window(4, None, 3), n=10, seed=0)
    with pytest.raises(RecipeError, match="has 2 different windows"):
        cut_windows(TEXTS[:2], Window(40, None, 39), n=10, seed=0)
    assert len(cut_windows(TEXTS[:3], Window(40, None, 39), n=10, seed=0)) == 3


def typical_distance(vectors: np.ndarray, seed: int = 0) -> float:
    n = len(vectors)
    return summarise(vectors, np.zeros(n, np.float32), np.zeros((n, 2), np.int32), 1, seed).typical_distance


def test_typical_distance_is_the_median_over_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((400, 300)).astype(np.float32)
    population = summarise(vectors, np.zeros(400, np.float32), np.zeros((400, 2), np.int32), 1, seed=0)
    # Distances of standard normal vectors concentrate at sqrt(2 d).
    assert population.typical_distance == pytest.approx(np.sqrt(600), rel=0.01)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # Half of all chords of a circle span more than a right angle.
    assert typical_distance(circle) == pytest.approx(np.sqrt(2), rel=0.1)
    outliers = np.where(np.arange(100) < 2, 1000.0, np.arange(100) % 2)[:, None].astype(np.float32)
    assert typical_distance(outliers) <= 1, "any two, not all with the same"
    two = np.array([[5.0], [6.0]], np.float32)
    assert {typical_distance(two, seed) for seed in range(8)} == {1}, "nothing is paired with itself"


def test_a_population_is_named_by_the_token_ids_of_its_windows() -> None:
    vectors, windows = np.ones((4, 2), np.float32), np.arange(12, dtype=np.int32).reshape(4, 3)
    named = summarise(vectors, np.zeros(4, np.float32), windows, 1, seed=0).hash
    tokens = b"".join(token.to_bytes(4, "little") for token in range(12))
    assert named == hashlib.blake2b(tokens, digest_size=16).hexdigest()
    assert summarise(vectors + 1, np.zeros(4, np.float32), np.asfortranarray(windows), 1, seed=9).hash == named


def test_a_small_population_is_warned_about() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 30)).astype(np.float32)
    for n in (50, 59, 60):
        windows = np.zeros((n, 2), np.int32)
        made = summarise(vectors[:n], np.zeros(n, np.float32), windows, 1, seed=0, warnings=("first",))
        assert made.warnings[0] == "first"
        assert ["2 x d_model = 60" in warning for warning in made.warnings[1:]] == [True] * (n < 60)


def test_bos_position_reads_its_population_next_door() -> None:
    assert population_index(0, bos=True)[0] == 1
    assert population_index(0, bos=False)[0] == 0
    assert population_index(0, bos=False)[1] is not None
    assert population_index(5, bos=True) == (5, None)


def test_population_vectors_are_activations_of_their_windows(embedded: Model) -> None:
    recipe = parse_recipe({"site": {"prompt": "One day a cat sat", "position": 3}, "population": {"n": 40}})
    lab = Laboratory(embedded, recipe, Workshop())
    for row in (0, 17, 39):
        ids = embedded.tensor([lab.population.token_ids[row].tolist()])
        state = embedded.network.transformer(input_ids=ids, output_hidden_states=True).hidden_states[1][0, 3]
        assert np.abs(lab.population.vectors[row] - (state - state.mean()).numpy()).max() < 1e-5
        assert lab.population.means[row] == pytest.approx(float(state.mean()), rel=1e-4, abs=1e-6)


def test_a_basis_that_removes_no_mean_has_none_to_keep(llama: Model) -> None:
    recipe = parse_recipe({"site": {"prompt": "One day a cat sat", "position": 3}, "population": {"n": 40}})
    population = Laboratory(llama, recipe, Workshop()).population
    assert not population.means.any()
    assert np.abs(population.vectors.mean(1)).max() > 1e-3


def test_reading_windows_can_be_stopped(embedded: Model) -> None:
    def stop() -> None:
        raise Stopped

    windows = cut_windows(TEXTS, Window(6, None, 5), n=4, seed=0)
    with pytest.raises(Stopped):
        read_windows(embedded, parse_hook("blocks.1.hook_resid_pre", 6), windows, 5, stop)


def test_the_bases_own_tokens_are_dropped(embedded: Model) -> None:
    workshop = Workshop()
    first = Laboratory(
        embedded, parse_recipe({"site": {"prompt": "One day a cat sat"}, "population": {"n": 30}}), workshop
    )
    member = first.population.token_ids[4]
    text = embedded.tokenizer.decode(member[1:])
    if embedded.encode(text, "auto") != member.tolist():
        pytest.fail("a window that does not survive decoding makes this test say nothing: pick another row")
    own = Laboratory(embedded, parse_recipe({"site": {"prompt": text}, "population": {"n": 30}}), workshop)
    assert not (own.population.token_ids == member).all(axis=1).any()
    assert len(own.population.vectors) == 30
    others = {tuple(t) for t in first.population.token_ids} - {tuple(member)}
    assert others <= {tuple(t) for t in own.population.token_ids}


def flat(section: PopulationSection, model: Model, cache: Path | None) -> list[np.ndarray]:
    return [document for group in read_texts(section, model, 12, cache, lambda text: None) for document in group]


def test_samples_of_a_model_are_seeded_kept_and_cut_at_separators(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "SAMPLES", 250)  # still two whole batches and a part of one
    section = PopulationSection(prompts="samples", seed=4)
    first = flat(section, llama, tmp_path)
    files = list(tmp_path.glob("samples-*.safetensors"))
    assert len(files) == 1
    written = files[0].stat().st_mtime_ns
    again = flat(section, llama, tmp_path)
    assert files[0].stat().st_mtime_ns == written
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    fresh = flat(section, llama, None)
    assert all(np.array_equal(a, b) for a, b in zip(first, fresh, strict=True))
    assert not any((text == llama.bos).any() for text in first)
    assert len(first) > 250, "without a separator among the samples nothing was cut"


def test_text_files_are_cut_at_separators_and_others_refused(embedded: Model, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("One day a cat.\n<|endoftext|>\nTwo dogs ran.\n")
    documents = flat(PopulationSection(prompts=str(tmp_path / "texts.txt")), embedded, None)
    assert [embedded.tokenizer.decode(t) for t in documents] == ["One day a cat.", "Two dogs ran."]
    with pytest.raises(RecipeError, match="no text file"):
        flat(PopulationSection(prompts="./nothing.txt"), embedded, None)
    with pytest.raises(LoadError, match="Cannot read the dataset"):
        flat(PopulationSection(prompts="someone/stories"), embedded, None)


def test_prompts_longer_than_the_bundled_samples_still_have_a_population(
    embedded: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From longer samples of the same model, drawn once and kept."""
    monkeypatch.setattr(texts, "SAMPLES", 20)  # as long as ever: their length is what the prompt needs
    prompt = "Once upon a time, there was a little girl who had a dog. " * 6
    recipe = parse_recipe({"site": {"prompt": prompt}, "population": {"n": 60}})
    lab = Laboratory(embedded, recipe, Workshop(tmp_path))
    assert len(lab.where.token_ids) > 64
    assert len(lab.population.vectors) == 60
    assert lab.population.token_ids.shape[1] == len(lab.where.token_ids)
    assert len(list(tmp_path.glob("samples-*.safetensors"))) == 1
