"""Which files of a model folder are read, and one sentence for each that is not what it seems."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from probes.errors import SubjectError
from probes.model.files import files_of, view_of
from probes.presets import SubjectSource
from probes.subject import load_subject
from tests.subjects import D_MODEL, VOCAB, tokenizer, write_model, write_sae

EMBEDDING = "model.embed_tokens.weight"
GATE = "model.layers.1.mlp.gate_proj.weight"
ESCAPES = (
    *(
        "../outside.safetensors",
        "/outside.safetensors",
        "a/../../b.safetensors",
        "~/x.safetensors",
        "C:\\x.safetensors",
    ),
    *("\\\\host\\x.safetensors", "evil.bin", "x.safetensors.pt", "one.safetensors\n", "", 7, None, ["one.safetensors"]),
)
"""Of an index, what is no name of a file that is read."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    write_model(root / "model")
    write_sae(root / "sae")
    return root


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy of the model's folder, to be damaged."""
    shutil.copytree(whole, tmp_path / "a")
    return tmp_path / "a" / "model"


def loaded(model: Path) -> Any:
    places = {"model": str(model), "sae": str(model.parent / "sae")}
    return load_subject(SubjectSource.parse({**places, "device": "cpu", "dtype": "float32"}))


def refusal(model: Path) -> str:
    """The one sentence with which loading fails."""
    with pytest.raises(SubjectError) as caught:
        loaded(model)
    said = str(caught.value)
    assert said.isprintable()
    assert said.endswith(".")
    return said


def told(model: Path, name: str = "config.json", **changes: Any) -> Path:
    """The folder, with other values in one of its JSON files."""
    path = model / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return model


def stored(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The folder, its tensors changed."""
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    return model


def sharded(model: Path, **index: Any) -> Path:
    """The folder, its weights in two shards named by an index, of which some is changed."""
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    shard_of = {name: "one.safetensors" if name == EMBEDDING else "two.safetensors" for name in tensors}
    for shard in set(shard_of.values()):
        part = {name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}
        save_file(part, model / shard, {"format": "pt"})
    written = {"metadata": {"total_size": 1}, "weight_map": shard_of} | index
    (model / "model.safetensors.index.json").write_text(json.dumps(written))
    return model


def test_shards_are_the_same_model_and_all_of_them_are_in_the_fingerprint(model: Path) -> None:
    one = loaded(model)
    two = loaded(sharded(model))
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    shard = model / "two.safetensors"
    tensors = load_file(shard)
    tensors[GATE][0, 0] += 1
    save_file(tensors, shard, {"format": "pt"})
    assert len({one.card.fingerprint, two.card.fingerprint, loaded(model).card.fingerprint}) == 3


@pytest.mark.parametrize("name", ESCAPES)
def test_an_index_names_safetensors_within_the_folder_only(model: Path, name: Any) -> None:
    torch.save({}, model / "evil.bin")
    for place in (model.parent / "outside.safetensors", model.parent / "b.safetensors"):
        shutil.copy(model / "model.safetensors", place)
    assert "only such are read" in refusal(sharded(model, weight_map={EMBEDDING: name}))


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"weight_map": []}, "has no weight_map"),
        ({"weight_map": {}}, "has no weight_map"),
        ({"metadata": 7}, "has no metadata"),
        ({"weight_map": {"x": "gone.safetensors"}}, "has no gone.safetensors; download it again"),
        ({"weight_map": {"x": "one.safetensors"}}, "has no tensor x in one.safetensors, where its index says it is"),
        ({"weight_map": {EMBEDDING: "two.safetensors"}}, f"has no tensor {EMBEDDING} in two.safetensors"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_said(model: Path, index: Any, says: str) -> None:
    assert says in refusal(sharded(model, **index))


def test_a_tensor_in_two_shards_is_said(model: Path) -> None:
    tensors = load_file(sharded(model) / "two.safetensors")
    save_file({**tensors, EMBEDDING: torch.zeros(VOCAB, D_MODEL)}, model / "two.safetensors", {"format": "pt"})
    assert f"has the tensor {EMBEDDING} twice, in one.safetensors and in two.safetensors" in refusal(model)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_link_out_of_the_folder_is_not_followed(model: Path, name: str) -> None:
    outside = shutil.move(model / name, model.parent.parent / name)
    (model / name).symlink_to(outside)
    assert "leads out of its folder" in refusal(model)


def test_links_of_the_hub_s_cache_are_followed(model: Path, tmp_path: Path) -> None:
    repo = tmp_path / "models--owner--name"
    snapshot = repo / "snapshots" / ("a" * 40)
    (repo / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(model.iterdir())):
        shutil.copy(path, repo / "blobs" / f"{number}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert {path.read_bytes() for path in files_of(snapshot).values()} == {
        path.read_bytes() for path in files_of(model).values()
    }


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "pointer", "dangling", "loop"])
def test_what_is_no_file_of_a_model_is_said(model: Path, name: str, kind: str) -> None:
    path = model / name
    path.unlink()
    says = {
        "pipe": "is no ordinary file",
        "folder": "is no ordinary file",
        "pointer": "only a pointer of git-lfs; fetch the file by: git lfs pull",
        "dangling": "has no ",
        "loop": "cannot be read",
    }
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "pointer":
            path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        case "dangling":
            path.symlink_to("nowhere")
        case "loop":
            path.symlink_to(name)
    assert says[kind] in refusal(model)


@pytest.mark.parametrize("share", [0, 0.00001, 0.5, 0.999])
def test_weights_cut_short_are_said(model: Path, share: float) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: int(len(content) * share)])
    assert "are damaged or cut short" in refusal(model)


@pytest.mark.parametrize("kind", ["int8", "int32", "bool", "complex64", "float8_e4m3fn"])
@pytest.mark.parametrize("name", [EMBEDDING, GATE])
def test_weights_that_cannot_be_computed_with_as_they_are_are_said(model: Path, kind: str, name: str) -> None:
    changed = stored(model, lambda tensors: tensors.update({name: tensors[name].to(getattr(torch, kind))}))
    assert f"{name} is of type" in refusal(changed)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [EMBEDDING, GATE, "model.norm.weight", "lm_head.weight"])
def test_numbers_that_are_not_finite_are_said(model: Path, name: str, value: float) -> None:
    changed = stored(model, lambda tensors: tensors[name].view(-1)[5:6].fill_(value))
    assert f"have numbers in {name} that are not finite" in refusal(changed)


@pytest.mark.parametrize("value", [0, 0.5])
def test_embeddings_that_are_all_alike_are_said(model: Path, value: float) -> None:
    assert "one embedding for all of its tokens" in refusal(stored(model, lambda t: t[EMBEDDING].fill_(value)))


def test_an_unembedding_of_zeros_is_said(model: Path) -> None:
    assert "gives all tokens the same logit" in refusal(stored(model, lambda t: t["lm_head.weight"].zero_()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(GATE), f"lack {GATE}."),
        (lambda t: t.update({GATE: t[GATE][1:].clone()}), f"{GATE} has shape [47, 32], not [48, 32]"),
        (lambda t: t.update({GATE.replace("1", "3"): t[GATE].clone()}), "have model.layers.3.mlp.gate_proj.weight, of"),
        (
            lambda t: t.update({GATE.replace("weight", "bias"): torch.ones(48)}),
            "have model.layers.1.mlp.gate_proj.bias",
        ),
        (lambda t: t.update({"a\nb": torch.ones(1)}), r"call a tensor 'a\nb', which no model does"),
    ],
)
def test_weights_that_are_another_model_s_are_said(model: Path, change: Callable[..., object], says: str) -> None:
    assert says in refusal(stored(model, change))


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "score.weight"])
def test_what_older_files_hold_besides_is_passed_over(model: Path, name: str) -> None:
    loaded(stored(model, lambda tensors: tensors.update({name: torch.ones(4)})))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": "32"}, "hidden_size is '32' instead of a positive whole number"),
        ({"hidden_size": 32.0}, "hidden_size is 32.0 instead"),
        ({"hidden_size": True}, "hidden_size is True instead"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0 instead"),
        ({"num_attention_heads": -4}, "num_attention_heads is -4 instead"),
        ({"hidden_size": 10**12}, "hidden_size is 1e+12, more than"),
        ({"vocab_size": 10**15}, "vocab_size is 1e+15, more than"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1e+09, more than"),
        ({"head_dim": 10**7}, "declares a model of"),
        ({"intermediate_size": 10**7}, "declares a model of"),
        ({"text_config": {"num_hidden_layers": 10**9}}, "num_hidden_layers is 1e+09, more than"),
        ({"quantization_config": []}, "quantization_config is [] instead of an object"),
        ({"text_config": 7}, "text_config is 7 instead of an object"),
        ({"dtype": "nosuch"}, "dtype is 'nosuch', which is no type of numbers"),
        ({"torch_dtype": 16}, "torch_dtype is 16, which is no type of numbers"),
        ({"layer_types": 7}, "layer_types is 7 instead of a list"),
        ({"attn_implementation": "owner/kernel"}, "names code on the hub, which is never run"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}},
            "needs code of its own (auto_map), which is never",
        ),
        ({"rms_norm_eps": float("nan")}, "computes numbers that are not finite"),
        ({"num_hidden_layers": 2}, "have model.layers.2."),
        ({"transformers_weights": "../../x.safetensors"}, "cannot be loaded"),
        ({"hidden_act": "nosuch"}, "cannot be built as its config.json says"),
    ],
)
def test_a_configuration_that_cannot_be_is_said(model: Path, changes: dict[str, Any], says: str) -> None:
    assert says in refusal(told(model, **changes))


@pytest.mark.parametrize("content", ["", "[]", "null", "7", "{", "[" * 100_000, '{"hidden_size": ' + "9" * 5000 + "}"])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "generation_config.json", "added_tokens.json"]
)
def test_json_that_is_no_object_is_said(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    assert str(model / name) in refusal(model)


def test_code_in_the_folder_is_not_run(model: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\n"
    for name in ("own.py", "custom_generate/generate.py", "modeling_gemma.py"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(code)
    told(model, auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    told(model, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]})
    loaded(model)
    assert not ran.exists()


def test_what_is_not_in_the_fingerprint_is_not_seen(model: Path) -> None:
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "more.jinja").write_text("{{ messages }}")
    with view_of(files_of(model)) as view:
        seen = {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()}
    assert seen == files_of(model).keys()
    assert seen == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "additional_chat_templates/more.jinja",
    }


def test_a_model_without_a_tokenizer_is_said(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()
    assert "has no tokenizer, such as tokenizer.json" in refusal(model)


def test_a_tokenizer_without_tokens_is_said(model: Path) -> None:
    inner = json.loads((model / "tokenizer.json").read_text())
    inner["model"] |= {"vocab": {}, "merges": []}
    (model / "tokenizer.json").write_text(json.dumps(inner))
    assert "has no tokens for text" in refusal(model)


@pytest.mark.parametrize(
    ("vocab", "rows", "says"), [(380, VOCAB, "has a token 356"), (VOCAB, 800, "has 320 tokens, but")]
)
def test_a_tokenizer_that_is_not_the_model_s_is_said(model: Path, vocab: int, rows: int, says: str) -> None:
    """Either more tokens than embeddings, or tokens for less than half of them."""
    assert says in refusal(write_model(model, vocab=vocab, vocab_size=rows))


def test_embeddings_may_be_padded_and_images_tokens_lie_behind_them(model: Path) -> None:
    known = tokenizer(270)
    known.add_tokens([f"<image{i}>" for i in range(VOCAB)], special_tokens=True)
    known.save_pretrained(model)
    assert len(known) > VOCAB == loaded(model).card.vocab


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "cannot be read"),
        ("[]", "holds [] instead of an object"),
        ("7", "holds 7 instead of an object"),
        ("{{{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"placeholder_id": "x"}', "instead of an object whose placeholder_id is a token's id"),
        ('{"placeholder_id": [3]}', "instead of an object whose placeholder_id is a token's id"),
        ('{"placeholder_id": 3.7}', "instead of an object whose placeholder_id is a token's id"),
        ('{"placeholder_id": 3.0}', "instead of an object whose placeholder_id is a token's id"),
        ('{"placeholder_id": true}', "instead of an object whose placeholder_id is a token's id"),
        ('{"placeholder_id": -1}', "is outside the model's vocabulary"),
        (f'{{"placeholder_id": {VOCAB}}}', "is outside the model's vocabulary"),
        ('{"placeholder_id": ' + "9" * 5000 + "}", "cannot be read"),
    ],
)
def test_a_pinned_placeholder_that_is_no_token_is_said(model: Path, content: str, says: str) -> None:
    (model.parent / "subject.json").write_text(content)
    assert says in refusal(model)
    (model.parent / "subject.json").write_text(f'{{"placeholder_id": {VOCAB - 1}}}')
    assert loaded(model).placeholder_id == VOCAB - 1


def test_a_pinned_placeholder_in_a_pipe_is_not_waited_for(model: Path) -> None:
    os.mkfifo(model.parent / "subject.json")
    assert "is not a small JSON file" in refusal(model)
