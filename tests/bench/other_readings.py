"""Ways to read a feature of smollm2 from weights alone other than the ones in use: do they say more?

    python -m tests.bench.other_readings CORPUS.jsonl [--features 240] [--tokens 100000] [--opening TEXT]
        [--only REGEX]

Three are tried against the list of activating tokens and the definitions of its words, on the measure of real_readout:
tokens read behind a few neutral openings, z averaged over them; the mean Jacobian from a token's embedding to the SAE's
hook, which pulls an encoder column back into the space of embeddings (the idea of Query Lens, arXiv 2606.07617); ghosts
between the vocabulary's direction and the encoder's. Where a reading names no opening, the subject's own stands before
its tokens, or `--opening`.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from rich.progress import track
from torch import Tensor
from torch.nn.functional import normalize

from probes.ghost.token_states import readable_ids
from probes.ghost.vectors import blended, directions, placed
from probes.ghost.vocabulary import CUT
from probes.hooks.activations import cut_at
from probes.presets import PRESETS, SubjectSource
from probes.settings import VectorSettings
from probes.subject import Subject, load_subject
from probes.tokenizer.special_tokens import start_id
from probes.tokenizer.token_text import word_places
from probes.training.rows import read_documents
from tests.bench.real_readout import (
    WORDS,
    Said,
    Words,
    activating_words,
    greedy_of,
    ranks,
    row,
    said_by_lists,
    said_of_words,
)

SEED = 23
"""Another one than that of real_readout: these features decide nothing that is reported there."""
OPENINGS = ("", " The", " It was a", "\n", " and")
PROMPT = "chat-few"
N_JACOBIAN = 512
"""Tokens whose Jacobians are averaged."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--features", default=240, type=int)
    parser.add_argument("--tokens", default=100_000, type=int)
    parser.add_argument("--opening", default=PRESETS["smollm2"].opening, help="before a token that is read alone")
    parser.add_argument("--only", default="", metavar="REGEX", help="of the readings; the first is always taken")
    given = parser.parse_args()
    subject = load_subject(SubjectSource(name="smollm2", opening=given.opening))
    documents = read_documents(given.corpus)
    words = activating_words(subject, documents[len(documents) * 9 // 10 :], given.tokens)
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(SEED)).tolist()
    features = sorted([[*words][place] for place in order][: given.features])
    vectors = Words()
    activated = vectors.means([words[feature] for feature in features])
    print(f"{subject.card.name}, {len(features)} of {len(words)} features, opening {given.opening!r}")
    control = None
    for name, read in readings(subject, features).items():
        if control is not None and not re.search(given.only, name):
            continue
        said = read()
        found = ranks(vectors.said(said), activated, [bool(one) for one in said])
        control = found if control is None else control
        print(row(name, found, control), flush=True)


def readings(subject: Subject, features: Sequence[int]) -> dict[str, Callable[[], Said]]:
    """Returns what each reading says of the features; the first is the one that the others are held to."""
    words, vocabulary = VectorSettings(weights="words"), VectorSettings(weights="vocabulary")
    columns = subject.sae.encoder_rows(features).T

    @cache
    def z(opening: str) -> Float[Tensor, "vocab n"]:
        return standardised(subject, columns, opening)

    @cache
    def together() -> Float[Tensor, "vocab n"]:
        return torch.stack([z(text) for text in OPENINGS]).mean(0)

    @cache
    def pulled() -> Float[Tensor, "n d_model"]:
        return normalize(columns.T @ mean_jacobian(subject), dim=-1)

    def mixed(share: float) -> Said:
        found, encoder = (directions(subject, features, weights) for weights in ("vocabulary", "encoder"))
        return defined_rows(placed(subject, blended(found, encoder, share), vocabulary))

    def defined_rows(rows: Float[Tensor, "n d_model"]) -> Said:
        return greedy_of(subject, rows * subject.input_scale, PROMPT)

    return {
        "list": lambda: said_by_lists(subject, features, vocabulary),
        **{f"list, behind {text!r}": partial(lambda t: listed(subject, z(t), WORDS), text) for text in OPENINGS},
        f"list, mean of {len(OPENINGS)} openings": lambda: listed(subject, together(), WORDS),
        "tree, 4 words": lambda: said_of_words(subject, features, words, PROMPT),
        "tree, 4 words, mean of openings": lambda: defined(subject, listed_ids(subject, together(), 4)),
        "list, mean Jacobian": lambda: listed(subject, along(subject, pulled()), WORDS),
        "tree, mean Jacobian": lambda: defined_rows(placed(subject, pulled(), vocabulary)),
        "tree, 4 words, mean Jacobian": lambda: defined(subject, listed_ids(subject, along(subject, pulled()), 4)),
        **{f"tree, vocabulary and {share} of encoder": partial(mixed, share) for share in (0.0, 0.1, 0.3, 0.5)},
    }


def standardised(subject: Subject, columns: Float[Tensor, "d_in n"], opening: str) -> Float[Tensor, "vocab n"]:
    """Returns z of every readable token behind BOS and an opening; very low for the others."""
    ids = torch.tensor(readable_ids(subject))
    found = torch.full((subject.card.vocab, columns.shape[1]), -1e9)
    with cut_at(subject.model, subject.sae.config.hook) as stream:
        for part in track(ids.split(2048), repr(opening), transient=True):
            found[part] = subject.sae.normalised(stream(behind(subject, opening, part))[:, -1].float()) @ columns
    read = found[ids]
    found[ids] = (read - read.mean(0)) / read.std(0)
    return found


def along(subject: Subject, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "vocab n"]:
    """Returns how far each readable token's row lies along the directions, standardised over tokens."""
    ids = torch.tensor(readable_ids(subject))
    found = torch.full((subject.card.vocab, len(directions)), -1e9)
    read = (subject.embedding[ids] - subject.centroid) @ directions.T
    found[ids] = (read - read.mean(0)) / read.std(0)
    return found


def listed_ids(subject: Subject, z: Float[Tensor, "vocab n"], n_words: int) -> list[list[int]]:
    """Returns the first token of each feature's first words beyond the cut."""
    top = z.topk(8 * n_words, dim=0)
    found = []
    for ids, values in zip(top.indices.T.tolist(), top.values.T.tolist(), strict=True):
        far = [id for id, value in zip(ids, values, strict=True) if value > CUT]
        found.append([far[place] for place in word_places([subject.text_of(id) for id in far])][:n_words])
    return found


def listed(subject: Subject, z: Float[Tensor, "vocab n"], n_words: int) -> list[list[str]]:
    """Returns each feature's first words."""
    return [[subject.text_of(id).strip() for id in ids] for ids in listed_ids(subject, z, n_words)]


def defined(subject: Subject, lists: Sequence[Sequence[int]]) -> list[list[str]]:
    """Returns the greedy definition of each word from its own row."""
    ids = torch.tensor([id for some in lists for id in some])
    texts = iter(greedy_of(subject, subject.embedding[ids] * subject.input_scale, PROMPT))
    return [[next(texts) for _ in some] for some in lists]


def mean_jacobian(subject: Subject) -> Float[Tensor, "d_in d_model"]:
    """Returns the mean over tokens of d (what the SAE sees of a token) / d (the token's embedding row)."""
    ids = torch.tensor(readable_ids(subject))
    drawn = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(SEED))[:N_JACOBIAN]]
    rows = (subject.embedding[behind(subject, subject.card.opening, drawn)] * subject.input_scale).clone()
    rows.requires_grad_()
    outputs = subject.sae.normalised(states_of(subject, rows)).sum(0)
    pulled = [torch.autograd.grad(one, rows, retain_graph=True)[0] for one in track([*outputs], "Jacobian")]
    return torch.stack([gradient[:, -1].mean(0) for gradient in pulled])


def behind(subject: Subject, opening: str, ids: Int[Tensor, " n"]) -> Int[Tensor, "n pos"]:
    """Returns each token behind BOS and an opening."""
    first = start_id(subject.tokenizer)
    assert first is not None
    front = torch.tensor([first, *subject.tokenizer.encode(opening, add_special_tokens=False)])
    return torch.cat([front.expand(len(ids), -1), ids[:, None]], dim=1)


def states_of(subject: Subject, rows: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch d_in"]:
    """Returns the residual stream behind the hook's block, at the last token, with its graph."""
    found: list[Tensor] = []
    block = subject.model.model.layers[subject.sae.config.hook.layer]
    handle = block.register_forward_hook(lambda _m, _a, out: found.append(out[0] if isinstance(out, tuple) else out))
    try:
        subject.model.model(inputs_embeds=rows, use_cache=False)
    finally:
        handle.remove()
    return found[0][:, -1]


if __name__ == "__main__":
    main()
