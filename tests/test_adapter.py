"""An adapter is its formula, its file says what it is, and a file that is anything else is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from agent.evidence.wording import vector_words
from agent.planning import Planner
from agent.schema import SettingsChange
from probes.errors import OutputError, SettingsError
from probes.evidence import ProbeRequest, Tree
from probes.ghost.adapter import Adapter, FitRecord, FitSettings, PartRecord, read_adapter, write_adapter
from probes.ghost.random_directions import random_directions
from probes.ghost.vectors import directions, feature_vectors, origin, placed, resolved
from probes.null import contrast
from probes.null.known_paths import KnownPaths
from probes.probe import run_probes
from probes.settings import AdapterFile, ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from tests.subjects import N_FEATURES

EMPTY = PartRecord(features=(), start=(), end=())
TREE = TreeSettings(cutoff=0.02, max_depth=3)


def record(subject: Subject, **changes: object) -> FitRecord:
    values = {
        "subject": subject.card.name,
        "fingerprint": subject.card.fingerprint,
        "d_model": subject.card.d_model,
        "labels": "run 1",
        "settings": FitSettings(),
        "steps": 20,
        "train": PartRecord(features=(0, 3), start=(2.0, 1.5), end=(1.0, 0.5)),
        "validation": EMPTY,
        "held_out": EMPTY,
        "versions": {"torch": "2", "sae-interpret": None},
        "created": "2026-01-01T00:00:00.000Z",
    }
    return FitRecord.model_validate(values | changes)


def adapter(subject: Subject, **changes: object) -> Adapter:
    bias = torch.randn(subject.card.d_model, generator=torch.Generator().manual_seed(0))
    return Adapter(0.75, bias, record(subject, **changes))


@pytest.fixture
def kept(subject: Subject, tmp_path: Path) -> AdapterFile:
    return write_adapter(tmp_path / "a.safetensors", adapter(subject))


class TestVector:
    def test_a_vector_is_scale_times_direction_plus_bias(self, subject: Subject, kept: AdapterFile) -> None:
        fitted = adapter(subject)
        for weights in ("encoder", "decoder", "blend:0.3"):
            settings = VectorSettings(weights=weights, adapter=kept)
            units = directions(subject, [0, 3, 11], settings.weights)
            torch.testing.assert_close(units.norm(dim=1), torch.ones(3))
            expected = 0.75 * units + fitted.bias
            torch.testing.assert_close(feature_vectors(subject, [0, 3, 11], settings), expected, rtol=0, atol=0)

    def test_a_dead_feature_has_no_vector_not_even_the_bias(self, subject: Subject, kept: AdapterFile) -> None:
        vectors = feature_vectors(subject, [0, N_FEATURES - 1], VectorSettings(weights="vocabulary", adapter=kept))
        assert vectors[0].any()
        assert vectors[1].eq(0).all()

    def test_resolved_settings_keep_the_adapter_s_own_scale(self, subject: Subject, kept: AdapterFile) -> None:
        settings = ProbeSettings(vector=VectorSettings(weights="vocabulary", adapter=kept))
        assert resolved(subject, settings) == settings
        assert ProbeSettings.model_validate_json(settings.model_dump_json()) == settings

    @pytest.mark.parametrize("kind", ["tree", "tokens"])
    def test_probes_use_it(self, subject: Subject, kept: AdapterFile, kind: str) -> None:
        vectors = (VectorSettings(weights="encoder", adapter=file) for file in (None, kept))
        plain, fitted = (ProbeSettings(vector=vector, tree=TREE) for vector in vectors)
        requests = [ProbeRequest(kind, 3, settings) for settings in (plain, fitted)]  # type: ignore[arg-type]
        one, other = run_probes(subject, requests)
        assert other.settings.vector == fitted.vector
        assert (one.probabilities if isinstance(one, Tree) else one.tokens) != (  # type: ignore[union-attr]
            other.probabilities if isinstance(other, Tree) else other.tokens  # type: ignore[union-attr]
        )

    def test_what_says_nothing_is_made_by_the_same_adapter(
        self, subject: Subject, kept: AdapterFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[torch.Tensor] = []
        follow = contrast._follow

        def watched(grower: object, trees: object, paths: KnownPaths, least: float) -> object:
            seen.append(paths.ghosts / subject.input_scale)
            return follow(grower, trees, paths, least)  # type: ignore[arg-type]

        monkeypatch.setattr(contrast, "_follow", watched)
        settings = VectorSettings(weights="encoder", adapter=kept)
        [tree] = run_probes(subject, [ProbeRequest("tree", 3, ProbeSettings(vector=settings, tree=TREE))])
        assert isinstance(tree, Tree)
        assert tree.contrast is not None
        bias = adapter(subject).bias
        torch.testing.assert_close(origin(subject, settings), bias)
        torch.testing.assert_close(seen[0][0], bias)
        random = random_directions(subject.card.d_model, contrast.N_NULL, contrast.SEED)
        torch.testing.assert_close(seen[0][1:], placed(subject, random, settings))
        torch.testing.assert_close(seen[0][1:], 0.75 * random + bias)


class TestSettings:
    @pytest.mark.parametrize(
        "others", [{"scale": 1.0}, {"centroid": False}, {"pca": (0.1,)}, {"scale": "auto"}, {"weights": "auto"}]
    )
    def test_an_adapter_stands_alone(self, kept: AdapterFile, others: dict[str, object]) -> None:
        with pytest.raises(SettingsError, match="an adapter brings its own scale and bias"):
            VectorSettings.parse({"adapter": kept, **others})

    def test_a_path_becomes_the_content(self, kept: AdapterFile) -> None:
        assert VectorSettings.parse({"adapter": kept.path}).adapter == kept

    def test_another_content_is_another_setting(self, subject: Subject, kept: AdapterFile, tmp_path: Path) -> None:
        other = write_adapter(tmp_path / "b.safetensors", adapter(subject, steps=30))
        Path(other.path).replace(kept.path)
        assert AdapterFile.at(kept.path).path == kept.path
        assert AdapterFile.at(kept.path) != kept

    def test_words_tell_its_name_and_content_and_not_where_it_lies(self, kept: AdapterFile, tmp_path: Path) -> None:
        words = vector_words(VectorSettings(weights="encoder", adapter=kept))
        assert words == f"encoder, adapter a.safetensors ({kept.sha256[:8]})"
        assert str(tmp_path) not in words

    @pytest.mark.parametrize("name", ["missing.safetensors", ".", "a\0b"])
    def test_what_is_no_file_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SettingsError, match=r"^Adapter .*\.$"):
            VectorSettings.parse({"adapter": f"{tmp_path}/{name}"})

    def test_an_explainer_that_asks_for_another_scale_is_told_so(self, kept: AdapterFile) -> None:
        planner = Planner(ProbeSettings(vector=VectorSettings(weights="vocabulary", adapter=kept)), ("encoder",), 1.0)
        plan = planner.next(3, SettingsChange(scale=2.0), [])
        assert "an adapter brings its own scale" in plan.refusal
        assert planner.next(3, SettingsChange(prompt="meaning"), []).requests[0].settings.vector.adapter == kept
        assert "for vocabulary weights alone" in planner.next(3, SettingsChange(weights="decoder"), []).refusal


class TestFile:
    def test_a_file_brings_back_numbers_and_record(self, subject: Subject, kept: AdapterFile) -> None:
        found = read_adapter(kept, subject.card)
        assert found.scale == 0.75
        assert found.bias.dtype == torch.float32
        assert found.bias.equal(adapter(subject).bias)
        assert found.record == record(subject)

    def test_a_file_is_never_replaced(self, subject: Subject, kept: AdapterFile) -> None:
        with pytest.raises(SettingsError, match="exists already"):
            write_adapter(Path(kept.path), adapter(subject, steps=30))
        assert read_adapter(kept, subject.card).record.steps == 20

    def test_a_folder_that_is_not_there_is_one_sentence(self, subject: Subject, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="there is no folder"):
            write_adapter(tmp_path / "none" / "a.safetensors", adapter(subject))

    def test_a_file_that_changed_is_refused(self, subject: Subject, kept: AdapterFile, tmp_path: Path) -> None:
        other = write_adapter(tmp_path / "b.safetensors", adapter(subject, steps=30))
        Path(other.path).replace(kept.path)
        with pytest.raises(SettingsError, match="not the file that these settings were made with"):
            feature_vectors(subject, [0], VectorSettings(weights="vocabulary", adapter=kept))

    def test_a_file_that_is_gone_is_refused(self, subject: Subject, kept: AdapterFile) -> None:
        Path(kept.path).unlink()
        with pytest.raises(SettingsError, match="is not a file"):
            feature_vectors(subject, [0], VectorSettings(weights="vocabulary", adapter=kept))

    @pytest.mark.parametrize("changes", [{"fingerprint": "0" * 64}, {"d_model": 8}])
    def test_an_adapter_of_another_subject_is_refused(
        self, subject: Subject, tmp_path: Path, changes: dict[str, object]
    ) -> None:
        found = Adapter(1.0, torch.zeros(int(str(changes.get("d_model", 32)))), record(subject, **changes))
        file = write_adapter(tmp_path / "other.safetensors", found)
        with pytest.raises(SettingsError, match="was fitted to"):
            read_adapter(file, subject.card)

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda *_: b"", "not an adapter"),
            (lambda whole, _: whole[:-8], "not an adapter"),
            (lambda whole, _: b"\xff" * 8 + whole[8:], "not an adapter"),
            (lambda whole, _: b"\x80\x04" + whole, "not an adapter"),
            (lambda *_: save(NUMBERS), "not an adapter"),
            (lambda *_: b"\x02" + bytes(7) + b"[]", "not an adapter"),
            (
                lambda _, told: save({n: t.to(torch.int32) for n, t in NUMBERS.items()}, TOLD | {"record": told}),
                "floating",
            ),
            (lambda *_: save(NUMBERS, TOLD | {"record": "{}"}), "not an adapter"),
            (lambda _, told: save(NUMBERS, TOLD | {"record": told.replace("fingerprint", "finger")}), "not an adapter"),
            (lambda _, told: save(NUMBERS, {"record": told}), "not an adapter"),
            (lambda _, told: save(NUMBERS, {"format": "sae-interpret adapter 2", "record": told}), "not an adapter"),
            (lambda _, told: save({"scale": torch.tensor(1.0)}, TOLD | {"record": told}), "does not hold"),
            (lambda _, told: save(NUMBERS | {"bias": torch.zeros(5)}, TOLD | {"record": told}), "does not hold"),
            (lambda _, told: save(NUMBERS | {"scale": torch.ones(2)}, TOLD | {"record": told}), "does not hold"),
            (lambda _, told: save(NUMBERS | {"scale": torch.tensor(torch.nan)}, TOLD | {"record": told}), "not finite"),
            (
                lambda _, told: save(NUMBERS | {"bias": torch.full((32,), torch.inf)}, TOLD | {"record": told}),
                "not finite",
            ),
        ],
    )
    def test_a_damaged_file_is_one_sentence(
        self, subject: Subject, kept: AdapterFile, damage: Callable[[bytes, str], bytes], words: str
    ) -> None:
        path = Path(kept.path)
        path.write_bytes(damage(path.read_bytes(), record(subject).model_dump_json()))
        with pytest.raises(SettingsError, match=words) as caught:
            read_adapter(AdapterFile.at(path), subject.card)
        assert str(caught.value).count(". ") == 0
        assert str(caught.value).endswith(".")

    def test_the_record_can_be_read_without_this_program(self, kept: AdapterFile) -> None:
        content = Path(kept.path).read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        assert json.loads(header["__metadata__"]["record"])["labels"] == "run 1"


TOLD = {"format": "sae-interpret adapter 1"}
NUMBERS = {"scale": torch.tensor(1.0), "bias": torch.zeros(32)}
