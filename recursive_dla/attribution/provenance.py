"""Where a graph or a tree comes from: a model, the tokens of a prompt, and what is explained of its output."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recursive_dla.attribution.labels import prompt_texts
from recursive_dla.attribution.targets import Target, answer_probabilities, label_of
from recursive_dla.cache.activations import Activations
from recursive_dla.model.tokens import token_texts


@dataclass(frozen=True)
class Token:
    """One token of the prompt."""

    pos: int
    token_id: int | None
    text: str


@dataclass(frozen=True)
class GraphTarget:
    """What is explained: an answer, perhaps less a wrong one, or a direction (neither), at a position.

    Attributes:
        answer_id: The answer's token id.
        wrong_answer_id: The wrong answer's.
        probability: That of the answer, as the model predicts it at ``pos``.
    """

    label: str
    answer: str | None
    wrong_answer: str | None
    pos: int
    answer_id: int | None = None
    wrong_answer_id: int | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Provenance:
    """What the metadata of graphs and of trees have in common.

    Attributes:
        value: The logit, or logit difference, that is explained.
    """

    model: str
    tokens: tuple[Token, ...]
    n_layers: int
    n_heads: int
    target: GraphTarget
    value: float

    @property
    def prompt(self) -> str:
        return "".join(token.text for token in self.tokens)


def provenances(cache: Activations, target: Target) -> list[Provenance]:
    """Of each prompt of a cache, with the first token of a target.

    Args:
        cache: The activations.
        target: What is explained of them.
    """

    weights, model, ids = cache.weights, cache.model, cache.tokens()

    def answer(given: Tensor | None, prompt: int) -> tuple[str | None, int | None]:
        return (None, None) if given is None else (token_texts(model, given[prompt])[0], int(given[prompt, 0]))

    found = []
    for prompt, (texts, probability) in enumerate(
        zip(prompt_texts(cache), answer_probabilities(cache, target), strict=True)
    ):
        numbers = [None] * len(texts) if ids is None else ids[prompt].tolist()
        right, right_id = answer(target.answers, prompt)
        wrong, wrong_id = answer(target.wrong_answers, prompt)
        found.append(
            Provenance(
                model=weights.name,
                tokens=tuple(Token(*token) for token in zip(range(len(texts)), numbers, texts, strict=True)),
                n_layers=weights.n_layers,
                n_heads=weights.n_heads,
                target=GraphTarget(
                    label=label_of(target, model, prompt),
                    answer=right,
                    wrong_answer=wrong,
                    pos=int(target.pos[prompt]),
                    answer_id=right_id,
                    wrong_answer_id=wrong_id,
                    probability=probability,
                ),
                value=float(target.value[prompt, 0]),
            )
        )
    return found
