"""Finds whose readouts are flagged: random directions', the demo's features', and those that name their known concept.

    python -m tests.bench.readout_table [--seed N]

A readout is flagged where its tree diverges from the null no further than all but a twentieth of random directions' do.
Nothing is chosen here, so features of all known concepts count.
"""

import argparse
from collections.abc import Iterator, Sequence

import torch

from agent.log.rows import now
from agent.log.runs import versions
from eval.metrics import proportion
from eval.scoring.known import known_concepts
from probes.demo.shipped import ShippedTruth
from probes.evidence import FAILED_ABOVE, Contrast
from probes.ghost.base_prompt import all_resolved
from probes.ghost.random_directions import random_directions
from probes.ghost.vectors import placed
from probes.growing.growth import Grower
from probes.null.contrast import contrasts
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from probes.tokenizer.prompt import prompt_ids
from tests.bench.probe_table import SIDES, figure, grown, names, settings_of

N_DRAWN = 400
"""Random directions whose readouts are looked at."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=0, type=int)
    seed = parser.parse_args().seed
    source = SubjectSource()
    subject, truth = load_subject(source), known_concepts(source)
    assert truth is not None
    print(now(), *(f"{package} {version}" for package, version in versions().items()), sep="  ")
    for line in readouts(subject, truth, seed):
        print(line, flush=True)


def readouts(subject: Subject, truth: ShippedTruth, seed: int) -> Iterator[str]:
    """One line for random directions, two for each side at its default."""
    yield f"{'':28} {'flagged':26} {'p above .3':26} name their concept"
    yield _readout_words("random directions", _random_contrasts(subject, seed))
    for side in SIDES:
        trees = grown(subject, [*truth.features], settings_of(vector={"weights": side}), {})
        right = [names(tree, truth, False, 1) for tree in trees]
        yield _readout_words(side, [tree.contrast for tree in trees], right)
        named = [tree.contrast for tree, names_it in zip(trees, right, strict=True) if names_it]
        yield _readout_words("  of those that name it", named)


def _readout_words(name: str, found: Sequence[Contrast | None], right: Sequence[bool] = ()) -> str:
    p_values = [1.0 if one is None else one.p_value for one in found]
    shares = [proportion(sum(p > most for p in p_values), len(p_values)) for most in (FAILED_ABOVE, 0.3)]
    named = figure(proportion(sum(right), len(right))) if right else ""
    return f"{name:28} {' '.join(f'{figure(one):26}' for one in shares)} {named}".rstrip()


def _random_contrasts(subject: Subject, seed: int) -> Sequence[Contrast | None]:
    """Of random directions, others than those of the null distribution."""
    settings = all_resolved(subject, settings_of())
    prompt = prompt_ids(subject.tokenizer, settings.tree.prompt_text, subject.card.placeholder_id)
    grower = Grower(subject, prompt, settings.tree)
    drawn = random_directions(subject.card.d_model, N_DRAWN, seed + 1).to(subject.embedding.device)
    with torch.inference_mode():
        trees = [*grower.grow(placed(subject, drawn, settings.vector) * subject.input_scale)]
    return contrasts(subject, grower, trees, settings.vector)


if __name__ == "__main__":
    main()
