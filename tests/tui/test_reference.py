"""What is made from the code is in step with it: pages of `docs/`, keys, and who may have which key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import UsageError
from scripts.reference import PAGES
from tui.keys import PLACES, TAKEN, every_binding, keymap

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run python -m scripts.reference"


def test_every_key_has_an_id_that_is_one_things_own() -> None:
    meanings: dict[str, set[str]] = {}
    for place, binding in every_binding():
        assert binding.id, f"{binding.key} on {place} has no id"
        meanings.setdefault(binding.id, set()).add(binding.action)
    assert {id: actions for id, actions in meanings.items() if len(actions) > 1} == {}


def test_no_key_means_two_things_in_one_place_and_none_is_taken_by_terminals() -> None:
    for place in PLACES:
        keys = [key for where, b in every_binding() if where == place for key in b.key.split(",")]
        assert len(keys) == len(set(keys)), f"{place}: {sorted(k for k in keys if keys.count(k) > 1)}"
        assert not {*keys} & {*TAKEN, "ctrl+q", "ctrl+s"}


def test_a_keymap_gives_keys_by_id() -> None:
    assert keymap({"pin": "f6", "undo": "ctrl+g,f7"}) == {"pin": "f6", "undo": "ctrl+g,f7"}
    assert keymap({"prompt": "m", "metric": "p"}) == {"prompt": "m", "metric": "p"}, "two may change places"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"pni": "f6"}, "did you mean 'pin'"),
        ({"quit": "f10"}, "cannot be lost"),
        ({"pin": "ctrl+q"}, "cannot be taken away"),
        ({"pin": "ctrl+i"}, "send for tab"),
        ({"pin": "m"}, "both"),
        ({"pin": "F66!"}, "is no key"),
    ],
)
def test_a_keymap_that_would_lose_something_is_refused(wanted: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        keymap(wanted)
