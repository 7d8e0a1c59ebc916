"""What stands in front of the texts that an SAE reads: as the user, its files or else the tokenizer say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.config import resolve
from eval.collect.corpora import Document
from eval.collect.corpus_pass import PoolWindow
from eval.collect.negatives import pool_activations
from eval.collect.windows import WindowCutter
from eval.scoring.subject_runner import SubjectRunner
from probes.errors import SubjectError
from probes.ghost.token_states import token_states
from probes.hooks import sae_input
from probes.hooks.activations import residual
from probes.presets import SubjectCard, SubjectSource
from probes.subject import Subject, first_ids, ids_before_lone_tokens, load_subject
from tests.fault_runs import Interpret
from tests.subjects import D_MODEL, N_FEATURES, VOCAB, model, sae_config, sae_tensors, tokenizer, write_sae

Loaded = Callable[..., Subject]
SAYS_NOTHING: dict[str, Any] = {"prepend_bos": None}
BOS = 1  # of the tests' own tokenizers


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """One model behind a tokenizer that puts a BOS in front of texts, and behind one that does not."""
    made = {habit: tmp_path_factory.mktemp("models") / str(habit) for habit in (True, False)}
    for habit, folder in made.items():
        model("gpt_neox").save_pretrained(folder)
        tokenizer(VOCAB, bos=habit).save_pretrained(folder)
    return made


@pytest.fixture
def loaded(tmp_path: Path, models: dict[bool, Path]) -> Loaded:
    """The model with an SAE whose files say so, or not, or nothing."""

    def load(habit: bool, says: bool | None, **options: Any) -> Subject:
        config = sae_config()
        config["metadata"] = {**config["metadata"], "prepend_bos": says}
        sae = write_sae(tmp_path / "sae", config)
        return load_subject(
            SubjectSource.parse({"model": str(models[habit]), "sae": str(sae), "device": "cpu", **options})
        )

    return load


@pytest.mark.parametrize(
    ("habit", "says", "asked", "begins"),
    [
        (True, None, None, True),
        (False, None, None, False),
        (False, True, None, True),
        (True, False, None, False),
        (True, None, False, False),
        (False, None, True, True),
        (False, True, False, False),
        (True, False, True, True),
    ],
)
def test_the_user_goes_before_the_files_and_these_before_the_tokenizer(
    loaded: Loaded, habit: bool, says: bool | None, asked: bool | None, begins: bool
) -> None:
    subject = loaded(habit, says, bos=asked)
    assert first_ids(subject) == ([subject.tokenizer.bos_token_id] if begins else [])
    assert subject.card.bos is asked


@pytest.mark.parametrize("bos", [True, False])
def test_it_holds_wherever_texts_are_read(loaded: Loaded, bos: bool) -> None:
    subject = loaded(not bos, not bos, bos=bos)
    text = "the cat sat"
    ids = subject.tokenizer.encode(text, add_special_tokens=False)
    front = [subject.tokenizer.bos_token_id] if bos else []
    states = residual(subject.model, torch.tensor([[*front, *ids]]), subject.sae.config.hook)[0, len(front) :]
    right = subject.sae.encode(states)

    batch = next(WindowCutter(subject, 16, 1024).batches([Document("a", text)], 100))
    assert batch.ids.tolist() == [[*front, *ids]]
    firings = pool_activations(subject, [PoolWindow("a", 0, tuple(ids), ("x",) * len(ids))], [2, 5])
    for feature in (2, 5):
        np.testing.assert_allclose(firings.activations(0, feature), right[:, feature].numpy(), atol=1e-5)
    with SubjectRunner(subject) as runner:
        peak = runner._peaks(2, [text])[0]
    assert peak == pytest.approx(float(right[:, 2].max()), abs=1e-5)
    assert sae_input._ids(subject.tokenizer, subject.sae.config.prepends_bos)[0, 0] == (
        BOS if bos else subject.tokenizer.encode(sae_input.PASSAGE, add_special_tokens=False)[0]
    )


@pytest.mark.parametrize(
    ("says", "asked", "alone"), [(None, None, True), (False, None, True), (True, False, False), (None, True, True)]
)
def test_a_token_read_alone_has_a_bos_before_it_unless_none_is_wanted(
    loaded: Loaded, says: bool | None, asked: bool | None, alone: bool
) -> None:
    subject = loaded(False, says, bos=asked)
    found = token_states(subject)
    front = [subject.tokenizer.bos_token_id] if alone else []
    expected = residual(subject.model, torch.tensor([[*front, int(found.ids[7])]]), subject.sae.config.hook)[0, -1]
    torch.testing.assert_close(found.states[7], expected)


def test_an_opening_stands_between_the_bos_and_a_token_that_is_read_alone(loaded: Loaded) -> None:
    subject = loaded(True, None, opening=" a b")
    found, front = token_states(subject), [subject.tokenizer.bos_token_id]
    front += subject.tokenizer.encode(" a b", add_special_tokens=False)
    assert len(front) > 1
    expected = residual(subject.model, torch.tensor([[*front, int(found.ids[7])]]), subject.sae.config.hook)[0, -1]
    torch.testing.assert_close(found.states[7], expected)
    plain = loaded(True, None)
    assert subject.card.fingerprint != plain.card.fingerprint == loaded(True, None, opening="none").card.fingerprint
    assert "opening" not in plain.card.model_dump()


def test_a_line_break_is_typed_as_a_backslash_and_an_n(
    interpret: Interpret, models: dict[bool, Path], tmp_path: Path
) -> None:
    write_sae(tmp_path / "sae", sae_config())
    of = ("--model", str(models[True]), "--sae", str(tmp_path / "sae"))
    ran = interpret("doctor", *of, "--opening", r"\n")
    assert "a token read alone is preceded by <bos> \u010a" in " ".join(ran.out.split())
    assert "preceded by" not in interpret("doctor", *of, "--opening", "none").out


def test_another_beginning_is_another_subject_and_the_same_one_is_not(loaded: Loaded) -> None:
    plain = loaded(False, True)
    assert loaded(False, True, bos=True).card.fingerprint == plain.card.fingerprint
    without = loaded(False, True, bos=False).card
    assert without.fingerprint != plain.card.fingerprint
    none, never = loaded(False, False), loaded(False, False, bos=False)
    assert ids_before_lone_tokens(none) != ids_before_lone_tokens(never)
    assert none.card.fingerprint != never.card.fingerprint
    silent, asked = loaded(False, None).card, loaded(False, None, bos=True).card
    assert silent.fingerprint != asked.fingerprint


def test_what_was_asked_is_kept_and_nothing_where_nothing_was(loaded: Loaded) -> None:
    plain, without = loaded(False, True).card, loaded(False, True, bos=False).card
    assert "bos" not in plain.model_dump(mode="json")  # runs of logs from before go on
    assert without.model_dump(mode="json")["bos"] is False
    assert SubjectCard(**without.model_dump(mode="json")) == without


def test_a_bos_that_no_tokenizer_has_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    model("gpt_neox").save_pretrained(bare)
    bald = tokenizer(VOCAB, bos=False)
    bald.bos_token = bald.eos_token = None
    bald.save_pretrained(bare)
    source = {"model": str(bare), "sae": str(write_sae(tmp_path / "sae")), "device": "cpu"}
    with pytest.raises(SubjectError, match="has neither one nor an end-of-text token; leave it out"):
        load_subject(SubjectSource.parse({**source, "bos": True}))


def test_a_dictionary_of_a_tokenizer_without_the_habit_reads_texts_as_they_are(
    tmp_path: Path, models: dict[bool, Path]
) -> None:
    tensors = sae_tensors()
    stored = {"encoder.weight": tensors["W_enc"].T, "decoder.weight": tensors["W_dec"].T, "bias": tensors["b_dec"]}
    torch.save({**{k: v.contiguous() for k, v in stored.items()}, "encoder.bias": tensors["b_enc"]}, tmp_path / "ae.pt")
    trainer = {"dict_class": "AutoEncoder", "activation_dim": D_MODEL, "dict_size": N_FEATURES, "layer": 0}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    begin = {}
    for habit, folder in models.items():
        subject = load_subject(SubjectSource.parse({"model": str(folder), "sae": str(tmp_path), "device": "cpu"}))
        begin[habit] = first_ids(subject)
    assert begin == {True: [BOS], False: []}


def test_the_settings_file_has_it_too(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[subject]\nbos = false\n")
    assert resolve({}, file).subject.bos is False
    assert resolve({"bos": True}, file).subject.bos is True
    assert resolve({}).subject.bos is None
