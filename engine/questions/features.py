"""Questions about SAE features: which are active here, which one is meant, what one seems to stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.dictionaries.evidence import FeatureEvidence
from engine.drawing import strongest

if TYPE_CHECKING:
    from engine.laboratory import Laboratory

SHOWN: Final = 64
NEIGHBOURS: Final = 6
TOKENS: Final = 8
URL: Final = "https://www.neuronpedia.org/{}/{}"


@dataclass(frozen=True)
class Feature:
    """One feature at a base. `evidence` is what lies beside the SAE, where something does."""

    index: int
    activation: float
    share_of_l1: float
    rate: float
    """Share of tokens on which it is active: of the model's own text where that is known, else of the population."""
    rate_of: int
    """Tokens that the rate was counted over."""
    mark: str
    """`dense`, `rare`, `dead`, `not seen` or nothing."""
    length: float
    """Of its decoder row."""
    encoder_cosine: float
    """Between its encoder and its decoder vector."""
    raised: tuple[str, ...]
    """Output tokens that its decoder row raises most by the direct path, strongest first."""
    lowered: tuple[str, ...]
    evidence: FeatureEvidence | None = None


@dataclass(frozen=True)
class FeatureList:
    """Features, in the order asked for."""

    sae: str
    rows: tuple[Feature, ...]
    n_features: int = 0
    problem: str = ""
    """Why there are none to show: no SAE for this hook, say."""


@dataclass(frozen=True)
class ActiveFeatures:
    """The features active at the site, most active first."""

    def answer(self, lab: Laboratory) -> FeatureList:
        """Encode the base."""
        return _list(lab, strongest(lab.features.activations(lab.site))[:SHOWN])


@dataclass(frozen=True)
class FindFeatures:
    """Features by number, or by an output token they raise by the direct path."""

    text: str

    def answer(self, lab: Laboratory) -> FeatureList:
        """Look a number up; rank all features by how much their unit decoder rows raise a token.

        Raises:
            DirectionError: There is no such feature, or the text is not one token.
        """
        import numpy as np

        from engine.directions.sae_feature import checked_features
        from engine.errors import DirectionError

        sae = lab.features
        if self.text.strip().isdigit():
            return _list(lab, checked_features(sae, [int(self.text)]))
        tokens = lab.model.tokenizer.encode(self.text, add_special_tokens=False)
        if len(tokens) != 1:
            # Words are mostly tokens with their space in front.
            tokens = lab.model.tokenizer.encode(" " + self.text.strip(), add_special_tokens=False)
        if len(tokens) != 1:
            raise DirectionError(
                f"{self.text!r} is no single token of this model ({lab.model.strings(tokens)}): search by a feature's "
                "number or by one token."
            )
        row = lab.weights.unembedding[int(tokens[0])]
        raises = sae.atoms(lab.site).products(row - row.mean() if lab.centred else row)
        return _list(lab, [int(i) for i in np.argsort(-raises, kind="stable")[:SHOWN]])


@dataclass(frozen=True)
class Card:
    """All that is known of a feature."""

    feature: Feature
    neighbours: tuple[tuple[int, float, str], ...]
    """Feature, cosine of decoder rows, output token raised most; nearest first."""
    neuronpedia: str = ""
    """URL of its dashboard."""


@dataclass(frozen=True)
class FeatureCard:
    """What a feature seems to stand for."""

    index: int

    def answer(self, lab: Laboratory) -> Card:
        """Look at its weights and evidence.

        Raises:
            DirectionError: There is no such feature.
        """
        from engine.directions.sae_feature import checked_features

        sae = lab.features
        checked_features(sae, [self.index])
        near = sae.neighbours(self.index, NEIGHBOURS)
        raised = [up[0] for up, _ in output_tokens(lab, [i for i, _ in near])]
        named = tuple((i, cosine, token) for (i, cosine), token in zip(near, raised, strict=True))
        url = URL.format(sae.neuronpedia, self.index) if sae.neuronpedia else ""
        return Card(_list(lab, [self.index]).rows[0], named, url)


def _list(lab: Laboratory, indices: Sequence[int]) -> FeatureList:
    import numpy as np

    from engine.dictionaries.firing import mark

    sae = lab.features
    lab.checkpoint()
    seen = lab.firing
    lab.checkpoint()
    f = sae.activations(lab.site)
    total = float(np.abs(f).sum()) or 1.0
    evidence = sae.evidence
    rows = []
    for i, (raised, lowered) in zip(indices, output_tokens(lab, indices), strict=True):
        lab.checkpoint()
        known = None if evidence is None else evidence.of(i)
        rate, of = (
            (float(seen.rates[i]), seen.n) if known is None or evidence is None else (known.rate, evidence.tokens)
        )
        rows.append(
            Feature(
                index=i,
                activation=float(f[i]),
                share_of_l1=float(abs(f[i])) / total,
                rate=rate,
                rate_of=of,
                mark=mark(rate, of),
                length=float(sae.lengths[i]),
                encoder_cosine=float(sae.encoder_cosines[i]),
                raised=raised,
                lowered=lowered,
                evidence=known,
            )
        )
    return FeatureList(f"{sae.release} / {sae.sae_id}", tuple(rows), sae.n_features)


def output_tokens(lab: Laboratory, indices: Sequence[int]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Tokens that each feature's decoder row raises and lowers most by the direct path, where there is one."""
    import numpy as np

    if not lab.where.write.wide_as_stream or not indices:
        return [((), ())] * len(indices)
    lab.checkpoint()
    logits = lab.features.rows(indices).astype(np.float32) @ lab.weights.unembedding.T
    found = []
    for row in logits:
        lab.checkpoint()
        order = np.argsort(-row, kind="stable")
        ends = (order[:TOKENS], order[: -TOKENS - 1 : -1])
        raised, lowered = (tuple(lab.workshop.token_string(lab.model, int(t)) for t in end) for end in ends)
        found.append((raised, lowered))
    return found
