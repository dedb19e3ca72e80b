"""The card of an SAE feature: numbers, output tokens, neighbours, where it fires. Shown alone or beside a list."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from engine.printable import printable
from engine.questions.features import Card
from tui.screens.dialogs import Reading

MARKS: Final = {
    "dense": "fires on more than half of all tokens: mostly cancels in differences",
    "rare": "fires on less than one token in 10,000: a cluster of its own, often of no meaning",
    "dead": "never fires",
    "not seen": "does not fire on this population, which is too small to call it dead",
}


def card_text(card: Card) -> Text:
    """All of a card."""
    f = card.feature
    text = Text(f"feature {f.index}", style="bold")
    here = f"   {f.activation:.3g} here, {f.share_of_l1:.0%} of L1" if f.activation else "   off here"
    where = "of the model's own text" if f.evidence is not None else f"of {f.rate_of:,} real activations at this place"
    text.append(f"{here}; fires on {f.rate:.2%} {where}\n", style="not bold")
    text.append(f"decoder norm {f.length:.3g}, encoder and decoder cosine {f.encoder_cosine:.2f}\n", style="not bold")
    if f.mark:
        text.append(f"{f.mark}: {MARKS[f.mark]}\n", style="not bold yellow")
    for word, tokens in (("\nraises ", f.raised), ("lowers ", f.lowered)):
        if tokens:
            text.append(word, style="not bold dim")
            text.append(" ".join(f"⟨{printable(token)}⟩" for token in tokens) + "\n", style="not bold")
    text.append("\nnearest by decoder cosine\n", style="not bold dim")
    for index, cosine, token in card.neighbours:
        text.append(f"#{index:<6} {cosine:>5.2f}  {f'⟨{printable(token)}⟩' if token else ''}\n", style="not bold")
    if card.neuronpedia:
        text.append(f"\n{card.neuronpedia}\n", style="not bold underline")
    if f.evidence is not None:
        text.append("\nwhere it fires most\n", style="not bold dim")
        for snippet in f.evidence.snippets:
            text.append(f"{snippet.activation:>6.2f}  {printable(snippet.before)}", style="not bold")
            text.append(printable(snippet.token), style="bold reverse")
            text.append(f"{printable(snippet.after)}\n", style="not bold")
        if not f.evidence.snippets:
            text.append("nowhere in the text looked at\n", style="not bold")
    return text


class FeatureDialog(Reading):
    """The card by itself."""

    WAITING = "looking ..."

    def body(self, found: Card) -> Text:
        return card_text(found)
