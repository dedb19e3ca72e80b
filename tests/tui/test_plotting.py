"""Charts as text, and edits of recipes: no worker, no terminal."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import RecipeError
from engine.recipe import parse_recipe
from sessions.chart import Chart, Line, Mark
from tui import edits
from tui.plotting import draw

X = np.linspace(0, 10, 50)


def rows(chart: Chart, width: int = 60, height: int = 16) -> list[str]:
    return draw(chart, width, height).plain.split("\n")


def test_a_chart_fills_exactly_its_cells() -> None:
    for width, height in ((60, 16), (87, 24), (16, 5)):
        text = rows(Chart((Line(X, X, (9, 9, 9), "a"),), x_stop=10), width, height)
        assert len(text) == height
        assert max(len(row) for row in text) <= width


def test_a_rising_line_rises() -> None:
    text = rows(Chart((Line(X, X, (9, 9, 9)),), x_stop=10))
    places = [next((i for i, c in enumerate(row) if "⠁" <= c <= "⣿"), None) for row in text]
    found = [p for p in places if p is not None]
    assert len(found) > 8
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_out(bad: float) -> None:
    y = X.copy()
    y[10:20] = bad
    assert any("⠁" <= c <= "⣿" for c in "".join(rows(Chart((Line(X, y, (9, 9, 9), "a"),), x_stop=10))))
    assert rows(Chart((Line(X, np.full(50, bad), (9, 9, 9)),), x_stop=10))


def test_letters_marks_and_ascii() -> None:
    chart = Chart((Line(X, X, (9, 9, 9), "Q"),), (Mark(5, 5, "●", (9, 9, 9)),), x_stop=10, levels=(2.0,))
    text = "".join(rows(chart))
    assert "Q" in text
    assert "●" in text
    plain = "".join(rows(Chart(chart.lines, x_stop=10, ascii=True)))
    assert not any("⠁" <= c <= "⣿" for c in plain)


def test_lines_are_cut_at_the_top_of_a_zoom() -> None:
    text = rows(Chart((Line(X, X, (9, 9, 9), "Q"),), x_stop=10, y_stop=2.0))
    assert next(row for row in text if "Q" in row).index("Q") < 30


def test_no_room_is_said() -> None:
    assert "too small" in draw(Chart(()), 10, 3).plain or draw(Chart(()), 10, 3).plain == "(too small"


RECIPE = parse_recipe({"site": {"prompt": "One day", "write": "blocks.2.hook_resid_pre"}})


def test_ticking_and_counting_kinds() -> None:
    more = edits.toggled_kind(RECIPE, "random-mixture")
    assert edits.count_of(more, "random-mixture") == 8
    assert edits.count_of(edits.with_count(more, "random", 2), "random") == 10
    assert edits.count_of(edits.with_count(more, "random", -50), "random") == 1
    assert edits.toggled_kind(more, "random-mixture") == RECIPE


def test_the_last_kind_cannot_be_cleared() -> None:
    one = edits.with_directions(RECIPE, [{"kind": "random"}])
    with pytest.raises(RecipeError, match="at least one kind"):
        edits.toggled_kind(one, "random")


def test_features_are_named_one_by_one() -> None:
    both = edits.toggled_feature(edits.toggled_feature(RECIPE, 4), 9)
    assert edits.ticked_features(both) == {4, 9}
    assert edits.ticked_features(edits.toggled_feature(both, 4)) == {9}
    automatic = edits.toggled_kind(RECIPE, "sae-feature")
    assert edits.count_of(automatic, "sae-feature") == 3
    assert edits.count_of(edits.toggled_feature(automatic, 4), "sae-feature") == 1


def test_moving_the_write_hook_takes_reads_along() -> None:
    early = edits.edited(RECIPE, "site", read=["blocks.2.hook_resid_post", "blocks.5.hook_resid_post"])
    assert edits.with_write(early, "blocks.4.hook_resid_pre", 6).site.read == ("blocks.5.hook_resid_post",)
    assert edits.shifted_write(RECIPE, 1, 6).site.write == "blocks.3.hook_resid_pre"
    assert edits.shifted_write(RECIPE, -5, 6) == RECIPE


def test_a_new_prompt_starts_at_its_last_token() -> None:
    there = edits.edited(RECIPE, "site", position=1)
    assert edits.with_prompt(there, "Two days").site.position == -1
