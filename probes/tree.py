"""Definition trees: what the model writes after a prompt in which a feature's vector stands for a word.

From a node, the next-token distribution (the placeholder masked before the softmax) and its top k tokens; a child stays
if its cumulative probability, its parent's times its own, reaches the cutoff. After M. Watkins, "SAE Feature
Interpretability Tool". Knows neither how trees grow (`probes.growth`) nor other probes.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from probes.batching import in_groups
from probes.contrast import contrasts
from probes.errors import SettingsError
from probes.evidence import Contrast, Evidence, ProbeRequest, Tree
from probes.growth import Columns, Grower
from probes.prompt import PromptIds, prompt_ids
from probes.settings import TreeSettings, VectorSettings
from probes.subject import Subject
from probes.vectors import has_direction, request_vectors, resolved


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """One tree per request, in their order; those of equal prompt, cutoff, k and depth grow in one batch.

    A feature without direction gets a tree that is only its root. Raises SettingsError for a depth that the model's
    positions do not allow.
    """
    return in_groups(
        requests,
        lambda request: request.settings.tree,
        lambda settings, alike: _trees(subject, alike, settings),
    )


def _trees(subject: Subject, requests: Sequence[ProbeRequest], settings: TreeSettings) -> Iterator[Tree]:
    """The trees of requests that differ in their vectors only."""
    prompt = prompt_ids(subject.tokenizer, settings.prompt_text, subject.card.placeholder_id)
    _check_length(subject, prompt, settings)
    vectors = request_vectors(subject, requests)
    alive = has_direction(vectors)
    grower = Grower(subject.model, subject.card.placeholder_id, prompt, settings)
    grown = iter([*grower.grow(vectors[alive] * subject.input_scale)] if alive.any() else [])
    columns = [next(grown) if lives else Columns() for lives in alive.tolist()]
    found = _contrasts(subject, grower, requests, columns)
    for request, tree, contrast in zip(requests, columns, found, strict=True):
        yield Tree(
            feature=request.feature,
            settings=resolved(subject, request.settings),
            prompt=settings.prompt_text,
            prompt_ids=prompt.ids,
            ghost_position=prompt.ghost_position,
            placeholder_id=subject.card.placeholder_id,
            parents=tree.parents,
            token_ids=tree.token_ids,
            probabilities=tree.probabilities,
            texts={id: subject.text_of(id) for id in sorted(set(tree.token_ids[1:]))},
            contrast=contrast,
        )


def _contrasts(
    subject: Subject, grower: Grower, requests: Sequence[ProbeRequest], trees: Sequence[Columns]
) -> list[Contrast | None]:
    """Those of trees whose vectors differ in their weights only are found together; a bare root has none."""
    alike: dict[VectorSettings, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        if len(trees[place].parents) > 1:
            alike[resolved(subject, request.settings).vector.model_copy(update={"weights": "encoder"})].append(place)
    found: list[Contrast | None] = [None] * len(trees)
    for vector, places in alike.items():
        for place, contrast in zip(
            places, contrasts(subject, grower, [trees[place] for place in places], vector), strict=True
        ):
            found[place] = contrast
    return found


def _check_length(subject: Subject, prompt: PromptIds, settings: TreeSettings) -> None:
    positions = getattr(subject.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if positions and len(prompt.ids) + settings.max_depth > positions:
        raise SettingsError(
            f"A prompt of {len(prompt.ids)} tokens with max_depth={settings.max_depth} goes beyond the model's "
            f"{positions} positions; shorten it or use a max_depth of at most {positions - len(prompt.ids)}."
        )
