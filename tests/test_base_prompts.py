"""The base prompts that ship: one ghost each, the plain reference's tree; chats as the model's own turns."""

import copy
from dataclasses import replace

import pytest

from probes.errors import SettingsError
from probes.evidence import ProbeRequest, Tree
from probes.ghost.vectors import feature_vectors
from probes.probe import run_probes
from probes.settings import CHATS, GHOST, PROMPTS, ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids, prompt_text
from tests.plain import plain_tree, size
from tests.subjects import tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)


def chatting(subject: Subject, template: str | None) -> Subject:
    """The subject with another chat template."""
    known = copy.deepcopy(subject.tokenizer)
    known.chat_template = template
    return replace(subject, tokenizer=known)


def grown(subject: Subject, prompt: str) -> Tree:
    tree = TreeSettings(prompt=prompt, cutoff=2e-3, max_depth=3, contrast=None)
    settings = ProbeSettings(vector=VectorSettings(weights="vocabulary"), tree=tree)
    tree = run_probes(subject, [ProbeRequest("tree", 3, settings)])[0]
    assert isinstance(tree, Tree)
    return tree


@pytest.mark.parametrize("name", PROMPTS)
def test_every_named_prompt_grows_the_reference_s_tree(subject: Subject, name: str) -> None:
    speaking = chatting(subject, TEMPLATE)
    tree = grown(speaking, name)
    assert PROMPTS[name].count(GHOST) == tree.prompt.count(GHOST) == 1
    assert tree.prompt_ids.count(subject.card.placeholder_id) == 1
    vector = feature_vectors(subject, [3], tree.settings.vector)[0]
    reference = plain_tree(subject, vector, tree.prompt_ids, tree.ghost_position, tree.settings.tree)
    assert tree.n_nodes == size(reference) > 5
    first = [p for p, parent in zip(tree.probabilities, tree.parents, strict=True) if parent == 0]
    assert first == pytest.approx([child.probability for child in reference.children.values()], rel=1e-4)


def test_named_prompts_give_different_trees(subject: Subject) -> None:
    speaking = chatting(subject, TEMPLATE)
    trees = [grown(speaking, name) for name in PROMPTS]
    assert len({tree.prompt_ids for tree in trees}) == len({tree.probabilities for tree in trees}) == len(PROMPTS)


@pytest.mark.parametrize("name", sorted(CHATS))
def test_a_chat_is_the_template_s_turns_with_bos_once(name: str) -> None:
    known = tokenizer()
    known.chat_template = TEMPLATE
    text = prompt_text(known, TreeSettings(prompt=name))
    question, beginning = PROMPTS[name].split("\n")
    assert text == f"<bos><user>{question}\n<model>{beginning}"
    ids = prompt_ids(known, text, 3).ids
    assert (ids[0], ids.count(known.bos_token_id)) == (known.bos_token_id, 1)
    assert known.decode(ids[1:]) == text.removeprefix("<bos>").replace(GHOST, known.decode([3]))


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (None, "lacks"),
        ("{{ raise_exception('no system prompt') }}", "no system prompt"),
        ("{% for turn in messages %}{{ turn.role }}{% endfor %}", "does not keep"),
        ("{% for turn in messages %}{{ turn.content }}{{ turn.content }}{% endfor %}", "does not keep"),
    ],
)
def test_a_model_that_cannot_chat_says_so_in_a_sentence(subject: Subject, template: str | None, told: str) -> None:
    for name in CHATS:
        with pytest.raises(SettingsError, match=told):
            grown(chatting(subject, template), name)


def test_a_text_of_the_user_s_own_is_no_chat() -> None:
    assert prompt_text(tokenizer(), TreeSettings(prompt="{ghost} is")) == "{ghost} is"
