"""Which base prompt a subject's own words are read best by: a plain reference of the measure, the choice, its cache."""

import copy
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from probes.doors import cached_json
from probes.errors import SettingsError
from probes.evidence import ProbeRequest, Sweep, TokenList, Tree
from probes.ghost import base_prompt
from probes.ghost.base_prompt import PromptFigure, all_resolved, offered_prompts, own_prompt, prompt_figures
from probes.ghost.word_reading import CHANCE, MIN_WORDS, definition_tokens, identified, words_of
from probes.growing.tree_columns import TreeColumns
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import CHATS, PLAIN_PROMPTS, ProbeSettings, TreeSettings
from probes.subject import Subject, load_subject
from tests.subjects import VOCAB
from tests.test_base_prompts import TEMPLATE, chatting

WORDS = ["cold", "warm", "house", "garden", "river", "animal", "yellow", "running"]


def wordy(subject: Subject, n: int = 2 * MIN_WORDS) -> Subject:
    """The subject with so many tokens that are words, in the place of its last ones."""
    known = {VOCAB - 1 - place: f" {WORDS[place % len(WORDS)]}{'e' * (place // len(WORDS))}" for place in range(n)}
    text_of = copy.copy(subject.text_of)
    text_of._known = {id: f"t{id}" for id in range(VOCAB)} | known
    return replace(subject, text_of=text_of)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(base_prompt, "cache_folder", lambda kind: tmp_path / kind)
    return tmp_path / "base-prompts"


class Measured:
    """Remembers for which base prompts it was told that they are measured."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, names: Sequence[str]) -> Iterable[str]:
        self.names += names
        return names


def nothing_is_measured(_names: Sequence[str]) -> Iterable[str]:
    raise AssertionError("measured")


def figures(monkeypatch: pytest.MonkeyPatch, subject: Subject, **shares: Sequence[float]) -> None:
    """Returns what the subject's base prompts are measured to be."""
    made = tuple(PromptFigure(name.replace("_", "-"), tuple(some)) for name, some in shares.items())
    monkeypatch.setitem(base_prompt._MEASURED, subject, made)


def spread(mean: float) -> list[float]:
    return [mean + step / 100 for step in (-10, -5, 0, 5, 10)] * 8


def test_a_ghost_is_identified_as_the_plain_formula_has_it(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(0)
    units = torch.nn.functional.normalize(torch.randn(6, subject.card.d_model, generator=generator), dim=-1)
    definitions = [{5: 0.5, 9: 0.2}, {5: 0.1, 12: 0.9}, {5: 1.0}, {}, {5: 0.3, 9: 0.1, 30: 0.4}, {5: 0.2, 44: 0.2}]
    found = identified(definitions, units, subject)

    def mean(definition: dict[int, float]) -> torch.Tensor:
        total = torch.zeros(subject.card.d_model)
        for token, weight in definition.items():
            in_how_many = sum(token in other for other in definitions)
            row = subject.embedding[token] - subject.embedding.mean(dim=0)
            total += weight * math.log(6 / in_how_many) * row / row.norm()
        return total / max(float(total.norm()), 1e-9)

    cosines = [[float(mean(definition) @ unit) for unit in units] for definition in definitions]
    for place in range(6):
        columns = [[row[ghost] for row in cosines] for ghost in range(6)]
        near = [
            (cosines[place][ghost] - sum(column) / 6) / float(torch.tensor(column).std())
            for ghost, column in enumerate(columns)
        ]
        expected = sum(other < near[place] for other in near) / 5 if definitions[place] else CHANCE
        assert found[place] == pytest.approx(expected), place


def test_definitions_that_all_say_the_same_say_nothing(subject: Subject) -> None:
    units = torch.eye(subject.card.d_model)[:4]
    assert identified([{5: 0.5}] * 4, units, subject) == (CHANCE,) * 4


def test_a_definition_ends_and_leaves_its_own_word_out(subject: Subject) -> None:
    texts = ["", " a", " Bicycles", " wheel", '".', " after", "cycle", " kind\n"]
    text_of = copy.copy(subject.text_of)
    text_of._known = dict(enumerate(texts))
    tree = TreeColumns(
        parents=(-1, 0, 0, 1, 3, 4, 3, 0),
        token_ids=(-1, 1, 2, 3, 4, 5, 6, 7),
        probabilities=(1.0, 0.5, 0.3, 0.4, 0.3, 0.2, 0.1, 0.1),
    )
    assert definition_tokens(tree, " bicycle", text_of) == {1: 0.5, 3: 0.4}


def test_too_few_words_leave_the_ordinary_prompt_and_measure_nothing(subject: Subject, cache: Path) -> None:
    plain = replace(subject)
    assert prompt_figures(plain, nothing_is_measured) == ()
    assert own_prompt(plain) == "definition"
    assert offered_prompts(plain) == PLAIN_PROMPTS
    assert set(offered_prompts(chatting(subject, TEMPLATE))) == {*PLAIN_PROMPTS, *CHATS}
    assert not cache.exists()


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no') }}", TEMPLATE])
def test_chats_are_measured_only_where_there_is_a_template(subject: Subject, cache: Path, template: str | None) -> None:
    found = prompt_figures(wordy(chatting(subject, template)))
    assert {figure.prompt for figure in found} == {*PLAIN_PROMPTS, *(CHATS if template == TEMPLATE else ())}
    assert all(len(figure.shares) == 2 * MIN_WORDS for figure in found)
    assert len(list(cache.iterdir())) == 1


def test_what_was_measured_is_kept_and_measured_again_where_it_is_damaged(subject: Subject, cache: Path) -> None:
    once = Measured()
    first = prompt_figures(wordy(subject), once)
    assert once.names == [*PLAIN_PROMPTS]
    assert prompt_figures(wordy(subject), nothing_is_measured) == first
    (file,) = cache.iterdir()
    whole = file.read_text()
    shares = json.loads(whole)
    less = {name: some[1:] for name, some in shares.items()}
    for damaged in ("", "{", "[]", json.dumps(less), whole.replace("0.", "7.", 1), json.dumps({"definition": []})):
        file.write_text(damaged)
        again = Measured()
        assert prompt_figures(wordy(subject), again) == first
        assert (again.names, file.read_text()) == ([*PLAIN_PROMPTS], whole)


def test_another_model_is_measured_for_itself_and_another_sae_is_not(subject: Subject, cache: Path) -> None:
    first = wordy(subject)
    prompt_figures(first)
    prompt_figures(replace(first, sae=first.sae.scaled(2.0)), nothing_is_measured)
    other = copy.deepcopy(subject.model)
    with torch.no_grad():
        next(iter(other.parameters())).add_(1)
    prompt_figures(replace(first, model=other))
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(subject: Subject, cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    assert len(prompt_figures(wordy(subject))) == len(PLAIN_PROMPTS)


def test_the_best_is_chosen_unless_the_ordinary_one_is_as_good(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(subject)
    figures(monkeypatch, own, definition=spread(0.6), word_means=spread(0.8), list=spread(0.7))
    assert own_prompt(own) == "word-means"
    close = [share + (0.1 if place % 2 else -0.099) for place, share in enumerate(spread(0.6))]
    figures(monkeypatch, own, definition=spread(0.6), word_means=close)
    assert own_prompt(own) == "definition"


def test_what_reads_little_is_not_offered(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(subject)
    noise = [0.0, 1.0, 1.0, 0.4] * 10
    figures(
        monkeypatch, own, definition=spread(0.75), meaning=spread(0.52), list=spread(0.45), word=noise, chat=spread(0.8)
    )
    assert offered_prompts(own) == ("definition", "chat")
    figures(monkeypatch, own, definition=spread(0.5), list=spread(0.45))
    assert offered_prompts(own) == ("definition",)


def test_auto_becomes_a_name_where_a_tree_is_grown_and_nowhere_else(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(subject)
    coarse = TreeSettings(cutoff=0.05, max_depth=3, contrast=None)
    settings, sweeping = (
        ProbeSettings.parse({"tree": coarse.model_dump(), "vector": {"scale": scale}}) for scale in (None, "auto")
    )
    [listed] = run_probes(own, [ProbeRequest("tokens", 3, settings)])
    assert isinstance(listed, TokenList)
    assert own not in base_prompt._MEASURED
    figures(monkeypatch, own, definition=spread(0.6), word_means=spread(0.9))
    tree, sweep, found = run_probes(
        own, [ProbeRequest("tree", 3, settings), ProbeRequest("sweep", 3, sweeping), ProbeRequest("tree", 3, sweeping)]
    )
    assert isinstance(tree, Tree)
    assert isinstance(sweep, Sweep)
    assert {item.settings.tree.prompt for item in (tree, sweep, found)} == {"word-means"}
    assert sweep.prompts[0] == "word-means"
    assert tree.prompt == 'The word "{ghost}" means "'
    assert all_resolved(own, settings).tree.prompt == "word-means"


def test_a_named_prompt_skips_measuring(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_prompt, "_found", nothing_is_measured)
    settings = ProbeSettings(tree=TreeSettings(prompt="list", cutoff=0.05, max_depth=3, contrast=None))
    [tree] = run_probes(replace(subject), [ProbeRequest("tree", 3, settings)])
    assert tree.settings.tree.prompt == "list"
    assert all_resolved(replace(subject), settings).tree == settings.tree


def test_auto_is_no_text_to_grow_from() -> None:
    with pytest.raises(SettingsError, match="cannot be auto"):
        TreeSettings().prompt_text  # noqa: B018


@pytest.mark.usefixtures("cache")
def test_the_demo_is_read_by_definition() -> None:
    demo = load_subject(SubjectSource.parse({"name": "demo", "device": "cpu"}))
    values = {figure.prompt: figure.value for figure in prompt_figures(demo)}
    assert own_prompt(demo) == "definition"
    assert "list" not in offered_prompts(demo)
    assert "meaning" not in offered_prompts(demo)
    assert values["definition"] > 0.6 > values["meaning"]


def test_words_are_whole_common_and_seeded(subject: Subject) -> None:
    found, again = words_of(wordy(subject)), words_of(wordy(subject))
    assert found is not None
    assert again is not None
    assert found.token_ids == again.token_ids
    assert {*found.token_ids} == {*range(VOCAB - 2 * MIN_WORDS, VOCAB)}
    assert found.units.norm(dim=-1).tolist() == pytest.approx([1.0] * len(found.token_ids))
    assert words_of(wordy(subject, MIN_WORDS - 1)) is None


def test_json_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "deep" / cached_json.file_name({"a": 1})
    assert cached_json.read_json(file) is None
    cached_json.write_json(file, [0.5])
    assert cached_json.read_json(file) == [0.5]
    assert [*file.parent.iterdir()] == [file]
    assert cached_json.file_name({"a": 2}) != file.name
