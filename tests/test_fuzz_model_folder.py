"""Damaged model folders: a sentence of ours, or a subject that works; never a traceback, a hang or another model.

FUZZ=2000 python -m pytest tests/test_fuzz_model_folder.py
"""

import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from probes.evidence import ProbeRequest
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings
from probes.subject import load_subject
from tests.fuzzing import damage, often, outcome, patient
from tests.subjects import sae_config, sae_tensors, write_model, write_sae

WIDTH = 16
KEYS = (
    "transformers_weights",
    "auto_map",
    "quantization_config",
    "attn_implementation",
    "rope_scaling",
    "rope_parameters",
    "text_config",
    "layer_types",
    "dtype",
    "placeholder_id",
    "chat_template",
    "added_tokens_decoder",
    "extra_special_tokens",
    "tokenizer_class",
    "num_hidden_layers",
    "head_dim",
)
"""Keys of JSON files that decide much, also where a file does not have them."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a tiny model as one file and in two shards, a `subject.json` beside each, and an SAE."""
    root = tmp_path_factory.mktemp("whole")
    model = write_model(
        root / "a" / "model", num_hidden_layers=2, hidden_size=WIDTH, intermediate_size=16, num_attention_heads=2
    )
    (root / "a" / "subject.json").write_text('{"placeholder_id": 3}')
    write_sae(root / "sae", sae_config(d_in=WIDTH), **sae_tensors(WIDTH))
    tensors = load_file(model / "model.safetensors")
    shutil.copytree(root / "a", root / "b")
    (root / "b" / "model" / "model.safetensors").unlink()
    shards = {name: f"{'one' if 'embed' in name else 'two'}.safetensors" for name in tensors}
    for shard in set(shards.values()):
        part = {name: tensor for name, tensor in tensors.items() if shards[name] == shard}
        save_file(part, root / "b" / "model" / shard, {"format": "pt"})
    index = '{"metadata": {"total_size": 1}, "weight_map": ' + str(shards).replace("'", '"') + "}"
    (root / "b" / "model" / "model.safetensors.index.json").write_text(index)
    return root


def used(root: Path, form: str) -> None:
    """Loads what is there, and grows a small tree with it."""
    model, sae = str(root / form / "model"), str(root / "sae")
    subject = load_subject(SubjectSource.parse({"model": model, "sae": sae, "device": "cpu", "dtype": "float32"}))
    settings = ProbeSettings(tree=TreeSettings(cutoff=0.3, max_depth=2, contrast=None))
    run_probes(subject, [ProbeRequest("tree", 1, settings)])
    assert torch.equal(subject.embedding, subject.model.get_input_embeddings().weight.float())


@pytest.mark.parametrize("form", ["a", "b"])
def test_the_whole_folders_work(whole: Path, form: str) -> None:
    assert outcome(lambda: used(whole, form)) is None


@patient
@often
@given(seed=st.integers(0, 2**32 - 1), form=st.sampled_from("ab"))
def test_a_damaged_model_folder_is_a_sentence_or_works(whole: Path, seed: int, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "of" / "this"
        shutil.copytree(whole, root)
        damage(root / form, Random(seed), KEYS)
        outcome(lambda: used(root, form))
