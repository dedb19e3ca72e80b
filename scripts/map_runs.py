"""The runs behind `docs/maps.md`: built-in recipes on evaluation stories, from which nothing else was taken.

Knows names and recipes; `scripts.maps_page` writes the page.
"""

from __future__ import annotations

from typing import Final

STORIES: Final = "population.prompts=bundled-evaluation"
MANY: Final = 'bases=[{kind="real-other",count=40}]'
RUNS: Final[dict[str, tuple[str, ...]]] = {
    "triangle": ("triangle", STORIES, 'bases=[{kind="real-other",count=100}]'),
    "plane": ("plane", STORIES),
    "planes": ("plane", STORIES, MANY, 'directions=[{kind="real-other",count=2}]', "options.resolution=16"),
    "planes-random": (
        "plane",
        STORIES,
        MANY,
        'directions=[{kind="random",count=2}]',
        "options.resolution=16",
        "expect=[]",
    ),
    "local-optimum": ("local-optimum", STORIES, MANY),
    "combine-features": ("combine-features", STORIES, MANY),
    "mixtures": ("mixtures", STORIES, MANY),
    "interaction": ("interaction", STORIES, MANY),
    "search": ("search", STORIES, 'bases=[{kind="real-other",count=10}]', "expect=[]"),
    "mechanism": ("mechanism", STORIES, MANY),
}
"""Name of each run: its built-in recipe and what is set otherwise."""
PROMPTS: Final = (
    "Once upon a time, there was a little girl who",
    "Tom and his mom went to the park. They saw a big",
    "The sun was hot. Ben was very",
    "Lily had a red ball. She liked to play with her",
    "One day, a small bird flew to the top of the",
    "The dog was sad because he lost his",
    'Mom said, "Do not touch the hot',
    "Sam and Mia went to the beach to look for",
    "There was a big tree in the garden. Under the tree lived a",
    "The boy wanted to eat the cake, but his dad",
    "It was raining. Anna put on her boots and went",
    "At night, the little bear looked at the moon and",
)
"""Of the blind tests."""
