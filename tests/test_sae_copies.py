"""Archives and pickles are turned into safetensors once, in the cache alone, whoever else does the same."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from probes.errors import SubjectError
from probes.sae_formats import copies, read_sae
from tests.sae_arrays import BE
from tests.sae_cases import ONE_OF_EACH

pytestmark = pytest.mark.usefixtures("sae_cache")


def refusal(path: Path) -> str:
    """The one sentence with which reading fails."""
    with pytest.raises(SubjectError) as caught:
        read_sae(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_a_pickle_is_read_once_and_nothing_is_written_beside_it(
    tmp_path: Path, sae_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ONE_OF_EACH["openai"].write(tmp_path / "sae")
    before = sorted((tmp_path / "sae").rglob("*"))
    first = read_sae(read)
    assert sorted((tmp_path / "sae").rglob("*")) == before
    assert len(list(sae_cache.iterdir())) == 1
    monkeypatch.setattr(torch, "load", None)
    elsewhere = tmp_path / "resid_post_mlp" / "1.pt"
    elsewhere.parent.mkdir()
    shutil.copy(read, elsewhere)
    assert torch.equal(read_sae(elsewhere).W_enc, first.W_enc)
    assert len(list(sae_cache.iterdir())) == 1


@pytest.mark.parametrize("name", ["gemma_scope", "openai", "dictionary_learning", "goodfire", "qwen_scope"])
def test_in_a_copy_a_feature_s_numbers_lie_together(tmp_path: Path, name: str) -> None:
    sae = read_sae(ONE_OF_EACH[name].write(tmp_path / "sae"))
    assert sae.W_enc.T.is_contiguous()
    assert sae.W_dec.is_contiguous()


def test_other_content_at_the_same_path_is_read_anew(tmp_path: Path) -> None:
    write = ONE_OF_EACH["goodfire"].write
    read = write(tmp_path)
    assert read_sae(read).b_enc is not None
    stored = torch.load(read, weights_only=True)
    stored["encoder_linear.bias"] += 1
    torch.save(stored, read)
    os.utime(read, ns=(time.time_ns(), time.time_ns() + 1))
    torch.testing.assert_close(read_sae(read).b_enc, torch.from_numpy(BE) + 1)


def test_a_copy_cut_short_is_made_again(tmp_path: Path, sae_cache: Path) -> None:
    read = ONE_OF_EACH["goodfire"].write(tmp_path)
    whole = read_sae(read).W_enc.clone()
    copy = next(sae_cache.iterdir())
    copy.write_bytes(copy.read_bytes()[:100])
    assert torch.equal(read_sae(read).W_enc, whole)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(copies, "folder", lambda: tmp_path / "file" / "cache")
    assert "cannot be kept as safetensors in the cache folder" in refusal(
        ONE_OF_EACH["goodfire"].write(tmp_path / "sae")
    )


def test_two_processes_may_make_the_same_copy(tmp_path: Path) -> None:
    read = ONE_OF_EACH["gemma_scope"].write(tmp_path / "sae")
    code = (
        "import sys; from pathlib import Path; from probes.sae_formats import copies, read_sae\n"
        "copies.folder = lambda: Path(sys.argv[2])\n"
        "print(float(read_sae(Path(sys.argv[1])).W_enc.sum()))"
    )
    command = [sys.executable, "-c", code, str(read), str(tmp_path / "shared")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert sums == {f"{float(read_sae(read).W_enc.sum())}\n"}
    assert [path.suffix for path in (tmp_path / "shared").iterdir()] == [".safetensors"]


def test_a_half_written_copy_is_nobody_s(tmp_path: Path, sae_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ONE_OF_EACH["goodfire"].write(tmp_path)

    def full(_tensors: object, path: str, _metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(copies, "save_file", full)
        assert "No space left on device; make room there" in refusal(read)
    assert list(sae_cache.iterdir()) == []
    assert read_sae(read).b_enc is not None
