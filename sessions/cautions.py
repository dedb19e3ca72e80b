"""What has to be known of a group of curves before its numbers are believed: short, and shown beside them.

Each caution is a letter at the group and a sentence below the table. Knows records and curves; shows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.results import Summary

LOW_ENTROPY: Final = 0.1
"""Nats: a next token as good as certain."""
MANY: Final = 0.1
"""Share of curves from which on something is said of the group."""
COVARIANCE_KINDS: Final = frozenset({"random", "random-mixture", "sae-error-random", "sae-error-mixture"})


@dataclass(frozen=True)
class Caution:
    """Something to know."""

    letter: str
    text: str


def cautions(info: Mapping[str, Any], rows: Sequence[Summary]) -> list[Caution]:
    """What concerns one group of curves.

    Args:
        info: of the run.
        rows: the group's curves, of one kind of direction and base.
    """
    if not rows:
        return []
    found = []
    site, population = info.get("site", {}), info.get("population", {})
    if site.get("position") == 0:
        found.append(Caution("0", "position 0 sees no context; its residual often has an odd norm"))
    n, width = population.get("n"), info.get("d_hook") or info.get("model", {}).get("d_model")
    drawn = {rows[0].kind, rows[0].base_kind} & COVARIANCE_KINDS
    if drawn and n is not None and width is not None and n < 2 * width:
        found.append(Caution("n", f"covariance from {n} activations of {width} numbers: below twice as many"))
    certain = _share([r.base_entropy is not None and r.base_entropy < LOW_ENTROPY for r in rows])
    if certain >= MANY:
        found.append(
            Caution("h", f"{certain:.0%} of curves start where the next token is certain (below {LOW_ENTROPY} nats)")
        )
    if info.get("noise_floor"):
        below = _share([r.final_kl is None for r in rows])
        if below >= MANY:
            found.append(Caution("f", f"{below:.0%} of curves end below the noise floor of the run's precision"))
    if info.get("path") and info["path"].get("stop") is None:
        found.append(
            Caution("e", "each path ends at its own target: what never happens was not looked for equally far")
        )
    never = _share([r.censored for r in rows])
    if never >= MANY:
        found.append(Caution("c", f"{never:.0%} never reach the level on this path; they count as +infinity"))
    coarse = _share([r.plateau_length is None and not r.plateau_censored for r in rows])
    if coarse >= MANY and info.get("path", {}).get("steps", 1) > 1:
        found.append(Caution("g", f"{coarse:.0%} have no plateau length: the grid is too coarse, or noise hides it"))
    return found


def _share(holds: Sequence[bool]) -> float:
    return sum(holds) / len(holds)


def footnotes(found: Sequence[Sequence[Caution]]) -> list[str]:
    """The cautions of several groups, each sentence once."""
    texts: dict[str, dict[str, None]] = {}
    for of_group in found:
        for caution in of_group:
            texts.setdefault(caution.letter, {})[caution.text] = None
    return [f"[{letter}] {text}" for letter, several in texts.items() for text in several]


def letters(of_group: Sequence[Caution]) -> str:
    """What stands beside a group's name; nothing where there is nothing to say."""
    return f" [{''.join(c.letter for c in of_group)}]" if of_group else ""
