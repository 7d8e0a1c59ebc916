"""Definition trees: what the model writes after a prompt in which a feature's vector stands for a word.

From a node, the next-token distribution (the placeholder masked before the softmax) and its top k tokens; a child stays
if its cumulative probability, its parent's times its own, reaches the cutoff. After M. Watkins, "SAE Feature
Interpretability Tool". Trees grow in `probes.growing.growth`; that of several vectors is the mean of theirs
(`probes.growing.mixing`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from probes.batching import in_groups
from probes.errors import SettingsError
from probes.evidence import Contrast, Evidence, ProbeRequest, Tree
from probes.ghost.vectors import has_direction, request_ghosts, resolved
from probes.growing.growth import Grower
from probes.growing.mixing import grow_mixed
from probes.growing.tree_columns import TreeColumns
from probes.model.structure import max_positions
from probes.null.contrast import contrasts
from probes.null.directions import null_weights
from probes.settings import ProbeSettings, SteeringSettings, TreeSettings, VectorSettings
from probes.steering import FeatureSteering, pronoun_id, pronoun_of
from probes.subject import Subject
from probes.tokenizer.prompt import PromptIds, prompt_ids, prompt_text


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """One tree per request, in their order; those of equal prompt, cutoff, k and depth grow in one batch.

    A feature without direction gets a tree that is only its root. Raises SettingsError for a depth that the model's
    positions do not allow, and where a feature is to be steered whose maximum is not known.
    """
    requests = [replace(request, settings=_resolved(subject, request.settings)) for request in requests]
    return in_groups(
        requests,
        lambda request: (request.settings.tree, request.settings.steering.way),
        lambda settings, alike: _trees(subject, alike, *settings),
    )


def _trees(
    subject: Subject, requests: Sequence[ProbeRequest], settings: TreeSettings, steering: SteeringSettings
) -> Iterator[Tree]:
    """The trees of requests that differ in their vectors, and in how much is steered, only.

    Steered ones have no contrast. The null would have to be steered alike, so that it, and the random directions that a
    divergence is compared with, would be another for every feature and amount: some hundred trees for each, where all
    trees of one kind share them now.
    """
    held = subject.card.placeholder_id if steering.ghost else pronoun_id(subject.tokenizer, steering.pronoun)
    text = prompt_text(subject.tokenizer, settings)
    prompt = prompt_ids(subject.tokenizer, text, held)
    _check_length(subject, prompt, settings)
    ghosts = _ghosts(subject, requests, held) * subject.input_scale
    found: list[Contrast | None] = [None] * len(requests)
    if steering.on:
        columns = _steered(subject, prompt, settings, requests, ghosts)
    else:
        grower = Grower(subject, prompt, settings)
        columns = grow_mixed(grower, ghosts)
        found = _contrasts(subject, grower, requests, columns)
    for request, tree, contrast in zip(requests, columns, found, strict=True):
        yield Tree(
            feature=request.feature,
            settings=request.settings,
            prompt=text,
            prompt_ids=prompt.ids,
            ghost_position=prompt.ghost_position,
            placeholder_id=subject.card.placeholder_id,
            parents=tree.parents,
            token_ids=tree.token_ids,
            probabilities=tree.probabilities,
            texts={id: subject.text_of(id) for id in sorted(set(tree.token_ids[1:]))},
            contrast=contrast,
        )


def _resolved(subject: Subject, settings: ProbeSettings) -> ProbeSettings:
    """With the subject's own scale, and the word in a ghost's place if there is no ghost."""
    steering = settings.steering
    if steering.on and not steering.ghost:
        word = pronoun_of(subject.tokenizer, steering)
        settings = settings.model_copy(update={"steering": steering.model_copy(update={"pronoun": word})})
    return resolved(subject, settings)


def _ghosts(subject: Subject, requests: Sequence[ProbeRequest], held: int) -> Float[Tensor, "n n_ghosts d_model"]:
    """Returns the vectors in the ghost's place of each request; zeros where its feature has no direction there.

    Without ghosts it is the row of the token that is `held`, whatever the vector's settings.
    """
    if held == subject.card.placeholder_id:
        return request_ghosts(subject, requests)
    written = subject.sae.decoder_rows([request.feature for request in requests])
    return (subject.embedding[held] * has_direction(written)[:, None])[:, None]


def _steered(
    subject: Subject,
    prompt: PromptIds,
    settings: TreeSettings,
    requests: Sequence[ProbeRequest],
    ghosts: Float[Tensor, "n n_ghosts d_model"],
) -> list[TreeColumns]:
    """Grows the trees while each request's feature is steered; those of equally many vectors together."""
    counts: list[int] = has_direction(ghosts).sum(dim=1).tolist()

    def grown(n_ghosts: int, places: Sequence[int]) -> list[TreeColumns]:
        steered = [requests[place] for place in places for _ in range(n_ghosts)]
        amounts = [request.settings.steering.amount(request.feature) for request in steered]
        features = [request.feature for request in steered]
        steering = FeatureSteering(subject, features, amounts, steered[0].settings.steering) if steered else None
        return grow_mixed(Grower(subject, prompt, settings, steering), ghosts[places])

    return in_groups(range(len(requests)), counts.__getitem__, grown)


def _contrasts(
    subject: Subject, grower: Grower, requests: Sequence[ProbeRequest], trees: Sequence[TreeColumns]
) -> list[Contrast | None]:
    """Finds contrasts, together for trees whose vectors have the same null distribution; a bare root has none."""
    alike: dict[VectorSettings, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        if len(trees[place].parents) > 1:
            vector = resolved(subject, request.settings).vector
            alike[vector.model_copy(update={"weights": null_weights(vector.weights)})].append(place)
    found: list[Contrast | None] = [None] * len(trees)
    for vector, places in alike.items():
        for place, contrast in zip(
            places, contrasts(subject, grower, [trees[place] for place in places], vector), strict=True
        ):
            found[place] = contrast
    return found


def _check_length(subject: Subject, prompt: PromptIds, settings: TreeSettings) -> None:
    positions = max_positions(subject.model)
    if positions and len(prompt.ids) + settings.max_depth > positions:
        raise SettingsError(
            f"A prompt of {len(prompt.ids)} tokens with max_depth={settings.max_depth} goes beyond the model's "
            f"{positions} positions; shorten it or use a max_depth of at most {positions - len(prompt.ids)}."
        )
