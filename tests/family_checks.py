"""What the probes promise of any model, measured on one: against its own forward and plain hooks, by hand.

A ghost made of a token's row gives that token's logits, to the bit. The engine's trees are a plain reference's. What
is read at a hook is what the model itself, or a plain hook on a module named by hand, has there. The projection of the
last layer's states is what goes into the model's own logits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probes.errors import SubjectError
from probes.evidence import ProbeRequest, Tree
from probes.ghost.per_layer import fed, per_layer_effects
from probes.ghost.vectors import feature_vectors
from probes.hooks.activations import residual
from probes.model.structure import final_norm_of, layers_of
from probes.probe import run_probes
from probes.projection import project
from probes.sae_config import Hook, Site
from probes.settings import PROMPTS, ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids
from tests.family_models import family_subject
from tests.family_table import LAYERS, Family
from tests.plain import Node, plain_tree

WORD = 290
"""Some ordinary token of the tiny vocabulary."""
FEATURES = (0, 3)
SETTINGS = ProbeSettings(vector=VectorSettings(weights="encoder"), tree=TreeSettings(cutoff=5e-3, max_depth=6))
NEAR = 1e-4
"""Relative: of a cutoff or a tie, within which the reference may decide otherwise."""
IDS = torch.tensor([[1, 40, 290, 7, 99, 31, 200, 12, 8, 150], [1, 5, 6, 7, 8, 9, 10, 11, 12, 13]])
SITES: tuple[Site, ...] = ("attn_module", "mlp_module", "mlp_in", "z", "mlp_act", "attn_out", "mlp_out", "mid")
CHOICES: tuple[Any, ...] = ("placeholder", "zeros", WORD)


@dataclass(frozen=True)
class Agreement:
    """A comparison of trees with the reference's."""

    n_nodes: int = 0
    difference: float = 0.0
    """Largest, relative, of a probability."""
    n_apart: int = 0
    """Nodes that only one of them has, near-ties left out."""

    def __add__(self, other: "Agreement") -> "Agreement":
        most = max(self.difference, other.difference)
        return Agreement(self.n_nodes + other.n_nodes, most, self.n_apart + other.n_apart)


@dataclass(frozen=True)
class Measured:
    """The findings of one family."""

    ghost_is_token: bool
    """Whether a token's row as a ghost gives its logits, bit for bit."""
    placeholder_is_token: bool
    """Whether the placeholder gives them without a ghost; were it so, the test above could not fail."""
    weights_kept: bool
    trees: Agreement
    stream_difference: float
    """Largest between the stream at a hook and the model's own hidden states, before and after every layer."""
    site_differences: dict[Site, float]
    """The same at the sites within a block that it has, against plain hooks."""
    lens_difference: float | None
    """Between the projection of the last layer's states and the model's logits before capping, scaling and bias;
    None for a model that unembeds several streams together."""
    per_layer_effects: dict[Any, float]
    """Mean KL divergence, in nats, of the next token's distribution by what a second table finds for a ghost."""


def measure(family: Family, folder: Path, device: str = "cpu") -> Measured:
    """Everything at once: `folder` takes the model."""
    subject = family_subject(folder, family, device=device, dtype="float32")
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    plain, haunted, placeholder = identity_logits(subject)
    trees = sum((agreement(subject, tree) for tree in grown(subject)), start=Agreement())
    found = Measured(
        ghost_is_token=torch.equal(plain, haunted),
        placeholder_is_token=torch.allclose(plain, placeholder, atol=1e-2),
        weights_kept=False,
        trees=trees,
        stream_difference=stream_difference(subject),
        site_differences=dict(site_differences(subject, family)),
        lens_difference=lens_difference(subject),
        per_layer_effects=per_layer_effects(subject, CHOICES) if subject.card.per_layer else {},
    )
    run_probes(subject, [ProbeRequest(kind, FEATURES[0], SETTINGS) for kind in ("tokens", "projection")])
    after = subject.model.state_dict()
    same = before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    return replace(found, weights_kept=same and not subject.embedder._forward_hooks)


def identity_logits(subject: Subject) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a prompt with a word, with the word's row as a ghost, and with the placeholder alone."""
    prompt = prompt_ids(subject.tokenizer, PROMPTS["definition"], subject.card.placeholder_id)
    with_word = list(prompt.ids)
    with_word[prompt.ghost_position] = WORD
    ghost = subject.embedding[[WORD]] * subject.input_scale
    with fed(subject, WORD).ghosts_at(prompt.ghost_position, ghost):
        haunted = logits_of(subject, prompt.ids)
    return logits_of(subject, with_word), haunted, logits_of(subject, prompt.ids)


def logits_of(subject: Subject, ids: Sequence[int]) -> Tensor:
    """Of a plain forward."""
    with torch.inference_mode():
        logits: Tensor = subject.model(torch.tensor([list(ids)], device=subject.model.device)).logits
    return logits


def grown(subject: Subject) -> list[Tree]:
    """The engine's trees of some features."""
    trees = run_probes(subject, [ProbeRequest("tree", feature, SETTINGS) for feature in FEATURES])
    return [tree for tree in trees if isinstance(tree, Tree)]


def agreement(subject: Subject, tree: Tree) -> Agreement:
    """Of one tree with the reference's."""
    vector = feature_vectors(subject, [tree.feature], tree.settings.vector)[0]
    root = plain_tree(subject, vector, tree.prompt_ids, tree.ghost_position, SETTINGS.tree)
    children: list[dict[int, int]] = [{} for _ in range(tree.n_nodes)]
    for place, (parent, token) in enumerate(zip(tree.parents[1:], tree.token_ids[1:], strict=True), start=1):
        children[parent][token] = place
    waiting, n_nodes, difference, n_apart = [(0, root)], 0, 0.0, 0
    while waiting:
        place, node = waiting.pop()
        n_nodes += 1
        difference = max(difference, abs(tree.probabilities[place] / node.probability - 1))
        for token in children[place].keys() | node.children.keys():
            if token in children[place] and token in node.children:
                waiting.append((children[place][token], node.children[token]))
            elif not is_close_call(node, token):
                n_apart += 1
    return Agreement(n_nodes, difference, n_apart)


def is_close_call(node: Node, token: int) -> bool:
    """Tells whether the reference itself nearly decided otherwise about this child."""
    assert node.next_probabilities is not None
    share = float(node.next_probabilities[token])
    kth = float(node.next_probabilities.topk(SETTINGS.tree.top_k).values[-1])
    return _near(node.probability * share, SETTINGS.tree.cutoff) or _near(share, kth)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= NEAR * abs(other)


@torch.inference_mode()
def stream_difference(subject: Subject) -> float:
    """See `Measured`. After the last layer the model keeps only what its final norm makes of it."""
    model, last = subject.model, LAYERS - 1
    ids = IDS.to(model.device)
    own = list(model(ids, output_hidden_states=True).hidden_states)
    active = getattr(model.config.get_text_config(decoder=True), "altup_active_idx", None)
    if active is None:
        expected, ends = [*own[:-1], own[-1]], final_norm_of(model)
    else:
        expected, ends = [streams[active] for streams in [*own[:-1], seen(subject, layers_of(model)[last])[1]]], None
    differences = [_largest(residual(model, ids, Hook(layer, "pre")), expected[layer]) for layer in range(LAYERS)]
    for layer in range(LAYERS):
        at = residual(model, ids, Hook(layer, "post"))
        differences.append(_largest(ends(at) if ends and layer == last else at, expected[layer + 1]))
    return max(differences)


@torch.inference_mode()
def site_differences(subject: Subject, family: Family) -> Iterator[tuple[Site, float]]:
    """The largest of each site, over the layers; sites that the block is known not to have must be refused."""
    for site in SITES:
        if site in family.refuses:
            for layer in range(LAYERS):
                _check_refused(subject, Hook(layer, site))
        elif (expected := _expected(subject, family, site)) is not None:
            ids = IDS.to(subject.model.device)
            found = [residual(subject.model, ids, Hook(layer, site)) for layer in range(LAYERS)]
            yield site, max(_largest(*pair) for pair in zip(found, expected, strict=True))


def _check_refused(subject: Subject, hook: Hook) -> None:
    try:
        residual(subject.model, IDS.to(subject.model.device), hook)
    except SubjectError:
        return
    raise AssertionError(f"{hook} was found in a {type(subject.model).__name__}, which has no such place.")


def _expected(subject: Subject, family: Family, site: Site) -> list[Tensor] | None:
    """Returns what is at the site of each layer, by hand; None where this family's table has no name for it."""
    added = family.after_attention or family.attention
    named = {
        "attn_module": (family.attention, 1),
        "attn_out": (added, 1),
        "mlp_module": (family.mlp, 1),
        "mlp_in": (family.mlp, 0),
        "z": (family.z, 0),
        "mlp_act": (family.mlp_act, 0),
    }
    layers = layers_of(subject.model)
    if site in named:
        name, side = named[site]
        return None if name is None else [seen(subject, layer.get_submodule(name))[side] for layer in layers]
    attention = [seen(subject, layer.get_submodule(added))[1] for layer in layers]
    stream = [seen(subject, layer) for layer in layers]
    if site == "mid":
        return [before + gave for (before, _), gave in zip(stream, attention, strict=True)]
    return [after - before - gave for (before, after), gave in zip(stream, attention, strict=True)]


def seen(subject: Subject, module: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns what a module reads and gives in a whole forward."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        found.append((args[0] if args else kwargs["hidden_states"]).clone())
        found.append((output[0] if isinstance(output, tuple) else output).clone())  # Falcon adds to it in place

    handle = module.register_forward_hook(keep, with_kwargs=True)
    with torch.inference_mode():
        subject.model(IDS.to(subject.model.device))
    handle.remove()
    return found[0], found[1]


@torch.inference_mode()
def lens_difference(subject: Subject) -> float | None:
    """See `Measured`; relative to the logits' own spread."""
    model = subject.model
    if hasattr(model.config.get_text_config(decoder=True), "altup_active_idx"):
        return None
    unembedding = model.get_output_embeddings()
    logits = seen(subject, unembedding)[1]
    logits = logits if unembedding.bias is None else logits - unembedding.bias
    states = residual(model, IDS.to(model.device), Hook(LAYERS - 1, "post"))
    return _largest(project(subject, states.flatten(0, 1)), logits.flatten(0, 1)) / float(logits.std())


def refusal(folder: Path, config: dict[str, Any]) -> str:
    """Returns what is said about a model that trees cannot be grown of. Raises AssertionError where nothing is."""
    try:
        grown(family_subject(folder, Family(config)))
    except SubjectError as error:
        return str(error)
    raise AssertionError(f"A {config['model_type']} grew trees.")


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())
