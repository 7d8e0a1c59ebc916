"""GGUF files: dequantised once, the same model as before, and every file that cannot be one is one sentence."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from probes.errors import SubjectError
from probes.model import gguf_models
from probes.model.fingerprint import fingerprint
from probes.model.folder import model_folder
from probes.model.gguf_header import GgufHeader, read_header
from probes.model.gguf_models import folder_of
from probes.model.loading import load_model, load_tokenizer
from probes.presets import Preset, SubjectSource
from probes.subject import load_subject
from tests.family_checks import identity_logits
from tests.subjects import VOCAB, tokenizer, write_sae

pytest.importorskip("gguf", reason="the package gguf, which reads and writes such files, is not installed")
pytest.importorskip("accelerate", reason="the package accelerate, without which transformers reads no GGUF file")

from gguf import GGML_QUANT_SIZES

from tests.gguf_files import CHAT_TEMPLATE, llama, write_gguf

CPU = torch.device("cpu")
SIZES = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
IDS = torch.tensor([[1, 40, 290, 7, 99, 31, 200, 12, 8, 150]])
TEXT = "the cat sat on the mat  and 12 dogs, café"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's cache."""
    monkeypatch.setattr(gguf_models, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
    return found


def refusal(file: Path, sha256: str | None = None) -> str:
    """The sentence by which the file is refused."""
    with pytest.raises(SubjectError) as caught:
        folder_of(file, sha256)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("cache")
class TestTheModel:
    def test_is_the_one_that_was_written(self, tiny: Path) -> None:
        assert torch.allclose(logits(load_model(folder_of(tiny), CPU)), logits(llama()), atol=1e-5)

    def test_is_what_transformers_reads_of_it_in_float32(self, tmp_path: Path) -> None:
        file = write_gguf(tmp_path / "packed.gguf", quantised=True)
        plain = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
        read = load_model(folder_of(file), CPU)
        right = plain.state_dict()
        assert all(torch.equal(weights, right[name]) for name, weights in read.state_dict().items())
        assert torch.allclose(logits(read), logits(plain), atol=1e-5)  # the products are ours, so their rounding is
        assert not torch.equal(logits(read), logits(llama()))  # 8 bits are fewer than 32
        assert {weights.dtype for weights in read.parameters()} == {torch.float32}

    def test_has_the_tokenizer_of_the_file(self, tiny: Path) -> None:
        read, written = load_tokenizer(folder_of(tiny)), tokenizer(bos=False)
        assert read.encode(TEXT) == written.encode(TEXT)
        assert read.decode(read.encode(TEXT)) == TEXT
        assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (1, 2, 0)
        assert read.chat_template == CHAT_TEMPLATE

    def test_cuts_digits_apart_where_the_file_says_so(self, tmp_path: Path) -> None:
        read = load_tokenizer(folder_of(write_gguf(tmp_path / "digits.gguf", cut="smollm")))
        pieces = read.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in  2009")
        assert [piece for piece, _ in pieces] == ["in", "ĠĠ", "2", "0", "0", "9"]

    def test_does_not_hang_on_what_lies_beside_the_file(self, tiny: Path, tmp_path: Path) -> None:
        file = Path(shutil.copy(tiny, tmp_path / "tiny.gguf"))
        other = tokenizer(vocab=290)
        other.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text("{}")
        plain = AutoTokenizer.from_pretrained(tiny.parent, gguf_file=tiny.name)
        read = load_tokenizer(folder_of(file))
        assert read.encode(TEXT) == plain.encode(TEXT) != other.encode(TEXT)


class TestTheCache:
    def test_is_filled_once_and_says_so(
        self, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = folder_of(tiny)
        said = capsys.readouterr()
        assert said.err == f"dequantising tiny.gguf, once, into {cache}\n"
        assert not said.out
        monkeypatch.setattr(gguf_models, "_read", lambda *_: pytest.fail("it was read again"))
        assert folder_of(tiny) == folder
        assert not capsys.readouterr().err
        assert list(cache.iterdir()) == [folder]

    def test_knows_a_file_by_what_is_in_it(self, tiny: Path, cache: Path, tmp_path: Path) -> None:
        assert folder_of(Path(shutil.copy(tiny, tmp_path / "renamed.gguf"))) == folder_of(tiny)
        assert folder_of(write_gguf(tmp_path / "other.gguf", chat_template="{{ messages[1] }}")) != folder_of(tiny)
        assert len(list(cache.iterdir())) == 2

    def test_makes_anew_what_power_loss_cut_short(self, tiny: Path, cache: Path) -> None:
        for name in ("model.safetensors", "tokenizer.json"):
            weights = folder_of(tiny) / name
            whole = weights.read_bytes()
            weights.write_bytes(whole[: len(whole) // 2] if name == "model.safetensors" else b"")
            assert (folder_of(tiny) / name).read_bytes() == whole
        assert len(list(cache.iterdir())) == 1

    def test_may_be_filled_by_two_processes_at_once(self, tiny: Path, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from probes.model import gguf_models\n"
            "gguf_models.cache = lambda: Path(sys.argv[2])\n"
            "print(gguf_models.folder_of(Path(sys.argv[1])))"
        )
        command = [sys.executable, "-c", code, str(tiny), str(tmp_path / "shared")]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        folders = {process.communicate()[0].strip() for process in both}
        assert [process.returncode for process in both] == [0, 0]
        assert [str(path) for path in (tmp_path / "shared").iterdir()] == [*folders]
        assert torch.allclose(logits(load_model(Path(folders.pop()), CPU)), logits(llama()), atol=1e-5)

    def test_that_cannot_be_written_is_said(self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr(gguf_models, "cache", lambda: tmp_path / "file" / "cache")
        assert "cannot be kept in the cache folder" in refusal(tiny)

    def test_keeps_nothing_half_written(self, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_model: object, path: str, **_more: object) -> None:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(gguf_models, "save_model", full)
            assert "No space left on device; make room there" in refusal(tiny)
        assert list(cache.iterdir()) == []
        assert gguf_models.is_made(folder_of(tiny))


class TestRefused:
    @pytest.fixture(autouse=True)
    def nothing_kept(self, cache: Path) -> Any:
        """After each of these tests the cache is empty."""
        yield
        assert not cache.is_dir() or list(cache.iterdir()) == []

    @pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.9, 0.9999])
    def test_a_file_cut_short(self, tiny: Path, tmp_path: Path, share: float) -> None:
        whole = tiny.read_bytes()
        (tmp_path / "cut.gguf").write_bytes(whole[: int(share * len(whole))])
        said = refusal(tmp_path / "cut.gguf")
        assert "cut short" in said
        assert said.endswith("; download it again.")

    @pytest.mark.parametrize("content", [b"", b"GG", b"version https://git-lfs.github.com/spec/v1\n", bytes(1000)])
    def test_what_is_no_gguf_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "odd.gguf").write_bytes(content)
        assert "odd.gguf is no GGUF file, whatever its name says; download it again." in refusal(tmp_path / "odd.gguf")

    def test_a_version_that_is_not_read(self, tiny: Path, tmp_path: Path) -> None:
        whole = tiny.read_bytes()
        (tmp_path / "old.gguf").write_bytes(whole[:4] + b"\x01" + whole[5:])
        assert "is of version 1; those that can be read are 2 and 3" in refusal(tmp_path / "old.gguf")

    @pytest.mark.parametrize(
        ("how", "says"),
        [
            ({"architecture": "nonesuch"}, "a model of the architecture 'nonesuch', which transformers"),
            ({"with_tokenizer": False}, "has no tokenizer, without which nothing can be asked"),
            ({"without": "blk.1.ffn_up.weight"}, "lacks weights: model.layers.1.mlp.up_proj.weight"),
            ({"split__count": 3}, "is one of 3 that make one model; join them"),
            ({"x__block_count": 10**9}, "num_hidden_layers is 1e+09, more than"),
            ({"x__embedding_length": 0}, "hidden_size is 0 instead of a positive whole number"),
            ({"x__embedding_length": 2**31}, "hidden_size is 2.147e+09, more than"),
        ],
    )
    def test_a_model_that_cannot_be_read(self, tmp_path: Path, how: dict[str, Any], says: str) -> None:
        assert says in refusal(write_gguf(tmp_path / "odd.gguf", **how))

    def test_another_file_than_the_one_that_is_meant(self, tiny: Path) -> None:
        assert "is not the one that is meant: its sha256 is not 0000" in refusal(tiny, "0" * 64)

    def test_a_package_that_is_missing(self, tiny: Path, without: Callable[[str], None]) -> None:
        without("gguf")
        assert "tiny.gguf is a GGUF file, which needs the package gguf; install with: pip install gguf." in refusal(
            tiny
        )
        without("accelerate")
        assert refusal(tiny).endswith("needs the package accelerate; install with: pip install accelerate.")

    def test_whatever_transformers_raises(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_args: object, **_kwargs: object) -> None:
            raise IndexError("of a kind that nobody foresaw\nat length")

        monkeypatch.setattr(gguf_models.AutoTokenizer, "from_pretrained", fail)
        assert refusal(tiny).endswith("cannot be read by transformers: of a kind that nobody foresaw.")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.none() | st.floats(0, 1))
def test_a_damaged_header_is_read_or_refused(
    tiny: Path, tmp_path: Path, at: float, byte: int, cut: float | None
) -> None:
    data = bytearray(tiny.read_bytes())
    data[int(at * min(len(data), 20_000))] = byte
    (tmp_path / "odd.gguf").write_bytes(data if cut is None else data[: int(cut * len(data))])
    with suppress(SubjectError):
        assert isinstance(read_header(tmp_path / "odd.gguf", SIZES), GgufHeader)


@pytest.mark.usefixtures("cache")
class TestPlaces:
    @pytest.fixture
    def sae(self, tmp_path: Path) -> Path:
        return write_sae(tmp_path / "sae")

    def source(self, model: object, sae: Path) -> SubjectSource:
        return SubjectSource.parse({"model": str(model), "sae": str(sae), "device": "cpu"})

    def test_a_file_and_a_file_in_a_folder(self, tiny: Path, sae: Path) -> None:
        cards = [load_subject(self.source(place, sae)).card for place in (tiny, f"{tiny.parent}:tiny.gguf")]
        assert cards[0].fingerprint == cards[1].fingerprint
        assert [card.name for card in cards] == [f"{tiny.parent.name}/tiny.gguf + {sae.parent.name}/sae"] * 2
        assert (cards[0].model_revision, cards[0].vocab, cards[0].dtype) == ("local", VOCAB, "float32")

    def test_a_file_on_the_hub_is_fetched_alone(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def snapshot(repo: str, *, allow_patterns: list[str], ignore_patterns: str | None) -> str:
            asked.append((repo, allow_patterns, ignore_patterns))
            return str(tiny.parent)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        found = model_folder(Preset(model="someone/tiny-GGUF:tiny.gguf", sae=""))
        assert asked == [("someone/tiny-GGUF", ["tiny.gguf"], None)]
        assert found.path == folder_of(tiny)
        with pytest.raises(SubjectError, match=r"has no file 'other\.gguf'"):
            model_folder(Preset(model="someone/tiny-GGUF:other.gguf", sae=""))

    def test_a_ghost_made_of_a_row_is_the_token(self, tiny: Path, sae: Path) -> None:
        plain, haunted, placeholder = identity_logits(load_subject(self.source(tiny, sae)))
        assert torch.equal(plain, haunted)
        assert not torch.equal(plain, placeholder)

    def test_the_subject_is_known_by_the_file_not_by_what_was_made_of_it(self, tiny: Path, sae: Path) -> None:
        before = load_subject(self.source(tiny, sae)).card.fingerprint
        config = folder_of(tiny) / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"transformers_version": "9.9.9"}))
        assert load_subject(self.source(tiny, sae)).card.fingerprint == before

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SubjectError, match=r"none\.gguf' is not a file on this machine"):
            model_folder(Preset(model=str(tmp_path / "none.gguf"), sae=""))
        with pytest.raises(SubjectError, match=r"has no subfolder 'none\.gguf'"):
            model_folder(Preset(model=f"{tmp_path}:none.gguf", sae=""))

    def test_a_folder_of_such_files_wants_one_named(self, tiny: Path) -> None:
        with pytest.raises(SubjectError, match=rf"holds GGUF files only; name one, as in {tiny.parent}:tiny\.gguf"):
            model_folder(Preset(model=str(tiny.parent), sae=""))


def test_the_fingerprint_sees_all_of_a_file_s_head(tmp_path: Path) -> None:
    head, weights = tmp_path / "model.gguf", tmp_path / "model.safetensors"
    seen = set()
    for byte in (b"a", b"b"):  # where no block of a weights' file is sampled
        head.write_bytes(bytes(100_000) + byte + bytes(4_000_000))
        weights.write_bytes(head.read_bytes())
        seen |= {fingerprint({"model": head}), fingerprint({"weights": weights})}
    assert len(seen) == 3


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package one that is not installed, and all others that are."""

    def hide(package: str) -> None:
        monkeypatch.setattr(
            gguf_models.importlib.util, "find_spec", lambda name: None if name == package else ModuleSpec(name, None)
        )

    return hide
