"""`interpret fit` and `--adapter` from the command line: where labels come from, what is kept, what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.commands.compare_grid import grid_of
from agent.cli.commands.fit import FitRequest, _settings
from agent.config import resolve
from agent.log.evidence import evidence_of
from agent.log.examples import begin_corpus
from agent.log.labels import labels_of
from agent.log.reviews import Review, add_review
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.log.scores import ScoreRow, ScoringIdentity, add_scores, begin_scoring
from probes.errors import SettingsError
from probes.ghost.adapter import Adapter, read_adapter
from probes.settings import AdapterFile, ProbeSettings
from probes.subject import Subject
from tests.fault_runs import Interpret
from tests.logged import corpus_identity, score
from tests.score_commands import LOG, N_FEATURES, label, named, said

pytestmark = pytest.mark.usefixtures("own_folder")

WORDS = ("cat", "mat", "dog", "ball", "old", "house", "small", "garden", "of", "the", "animal", "word", "thing", "kind")
ENCODER = ("--weights", "encoder")
TO = ("--to", "a.safetensors", "--steps", "4", *ENCODER)
SMALL = ("--cutoff", "0.05", "--max-depth", "3")


@pytest.fixture(scope="module")
def subject(tiny: list[str]) -> Subject:
    return named(tiny)


def labels(*lines: object) -> str:
    """A file of labels: those of `WORDS`, then these lines."""
    rows = [*({"feature": feature, "label": word} for feature, word in enumerate(WORDS)), *lines]
    Path("labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return "labels.jsonl"


def kept(subject: Subject) -> Adapter:
    return read_adapter(AdapterFile.at("a.safetensors"), subject.card)


def fitted_on(adapter: Adapter) -> set[int]:
    """All features whose labels were used, held out or not."""
    record = adapter.record
    return {feature for part in (record.train, record.validation, record.held_out) for feature in part.features}


class TestFile:
    def test_an_adapter_is_fitted_kept_and_used(self, interpret: Interpret, tiny: list[str], subject: Subject) -> None:
        ran = interpret("fit", "--labels", labels(), *TO, *tiny, "--weights", "decoder", "--seed", "3")
        assert ran.status == 0, ran.err
        assert "by label: 9 features to fit on, 2 for validation, 3 held out" in said(ran.out)
        assert "over 3 features" in said(ran.out)
        adapter = kept(subject)
        assert fitted_on(adapter) == set(range(len(WORDS)))
        assert (adapter.record.settings.seed, adapter.record.settings.weights) == (3, "decoder")
        assert adapter.record.labels == "labels.jsonl"
        assert adapter.record.versions["torch"]
        assert len(adapter.record.held_out.start) == len(adapter.record.held_out.end) == 3
        use = ("--adapter", "a.safetensors", *tiny)
        tree = json.loads(interpret("tree", "5", "--json", *SMALL, *use).out)
        assert tree["settings"]["vector"]["adapter"]["sha256"] == AdapterFile.at("a.safetensors").sha256
        assert tree["settings"]["vector"]["scale"] is None
        assert interpret("tokens", "5", *use).out.split("\n")[0].count("adapter a.safetensors") == 1

    def test_it_is_fitted_to_the_vector_of_the_vocabulary_unless_others_are_named(self) -> None:
        asked = FitRequest("labels.jsonl", Path("a.safetensors"), None, None, "both", 4, 0.2)
        assert _settings(resolve({}), asked).weights == "vocabulary"
        assert _settings(resolve({"weights": "decoder"}), asked).weights == "decoder"
        with pytest.raises(SettingsError, match="words are several"):
            _settings(resolve({"weights": "words"}), asked)

    def test_the_same_command_gives_the_same_numbers(
        self, interpret: Interpret, tiny: list[str], subject: Subject
    ) -> None:
        found = []
        for _ in range(2):
            interpret("fit", "--labels", labels(), *TO, *tiny)
            found.append(kept(subject))
            Path("a.safetensors").unlink()
        assert found[0].scale == found[1].scale
        assert found[0].bias.equal(found[1].bias)

    def test_an_adapter_is_not_overwritten(self, interpret: Interpret, tiny: list[str]) -> None:
        Path("a.safetensors").write_text("mine", encoding="utf-8")
        ran = interpret("fit", "--labels", labels(), *TO, *tiny)
        assert (ran.status, "exists already" in ran.err) == (2, True)
        assert Path("a.safetensors").read_text(encoding="utf-8") == "mine"

    def test_features_without_label_are_let_be(self, interpret: Interpret, tiny: list[str], subject: Subject) -> None:
        path = labels({"feature": 90, "label": None, "more": 1}, {"feature": 91, "label": "  "}, {"feature": 92})
        assert interpret("fit", "--labels", path, *TO, *tiny).status == 0
        assert fitted_on(kept(subject)) == set(range(len(WORDS)))

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ({"feature": 2, "label": "again"}, "feature 2 has a label already"),
            ({"feature": N_FEATURES, "label": "far"}, "Line 15 of labels.jsonl"),
            ({"feature": "7", "label": "dog"}, "it is not like"),
            ({"feature": True, "label": "dog"}, "it is not like"),
            ({"feature": 20, "label": ["dog"]}, "it is not like"),
            ([1], "it is not like"),
            ({"feature": 20, "label": "d" * 201}, "longer than 200 characters"),
        ],
    )
    def test_a_line_that_cannot_be_used_is_named(
        self, interpret: Interpret, tiny: list[str], line: object, words: str
    ) -> None:
        ran = interpret("fit", "--labels", labels(line), *TO, *tiny)
        assert ran.status == 2
        assert words in ran.err
        assert "Line 15" in ran.err
        assert len(ran.err.strip().splitlines()) == 1
        assert not Path("a.safetensors").exists()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--labels", "none.jsonl"), "cannot be read"),
            (("--labels", "broken.jsonl"), "Line 1 of broken.jsonl cannot be used: it is not JSON."),
            (("--labels", "few.jsonl"), "too few to fit an adapter on"),
            (("--labels", "demo-known"), "is about --subject demo alone"),
            (("--labels", "labels.jsonl", "--least-score", "embedding:0.5"), "name a run with --labels"),
            (("--labels", "labels.jsonl", "--least-score", "embedding"), "write SCORER:X"),
            (("--labels", "labels.jsonl", "--wording", "a thing"), "a wording has exactly one {label}"),
            (("--labels", "labels.jsonl", "--hold-out", "1"), "is a share"),
            (("--labels", "labels.jsonl", "--weights", "auto"), "weights are words, vocabulary, encoder, decoder or"),
            (("--labels", "labels.jsonl", "--weights", "words"), "an adapter is fitted to one vector a feature"),
            (("--labels", "labels.jsonl", "--to", "none/a.safetensors"), "there is no folder none"),
            (("--labels", "7"), "run"),
        ],
    )
    def test_what_cannot_be_done_is_one_sentence(
        self, interpret: Interpret, tiny: list[str], options: tuple[str, ...], words: str
    ) -> None:
        labels()
        Path("broken.jsonl").write_text("{feature: 1}\n", encoding="utf-8")
        Path("few.jsonl").write_text('{"feature": 1, "label": "dog"}\n', encoding="utf-8")
        ran = interpret("fit", *TO, *tiny, *options)
        assert ran.status == 2
        assert words in said(ran.err)
        assert not Path("a.safetensors").exists()


class TestRun:
    @pytest.fixture
    def reviewed(self, own_folder: None, subject: Subject) -> None:  # noqa: ARG002
        """A run of which 11 labels are accepted, one edited, one rejected, and three score well."""
        label(subject, {feature: f"word {feature}" for feature in range(30)})
        with RunLog.open(LOG) as log:
            ids = {row.feature: row.label_id for row in log.read(labels_of, 1)}
            for feature in range(11):
                log.write_at_once(add_review, ids[feature], "me", Review(verdict="accept"))
            log.write_at_once(add_review, ids[11], "me", Review(verdict="edit", label="better"))
            log.write_at_once(add_review, ids[20], "me", Review(verdict="reject"))
            corpus_id = log.write(begin_corpus, corpus_identity(subject=subject.card)).result()
            identity = ScoringIdentity(run_id=1, corpus_id=corpus_id, judge="none", settings={}, templates={})
            scores = {20: 0.95, 21: 0.9, 22: 0.8, 23: 0.79, 24: None}
            log.write(add_scores, log.write(begin_scoring, identity).result(), [*scored(ids, scores)]).result()

    @pytest.mark.usefixtures("reviewed")
    def test_reviewed_labels_are_taken(self, interpret: Interpret, tiny: list[str], subject: Subject) -> None:
        ran = interpret("fit", "--labels", "1", *TO, *tiny)
        assert ran.status == 0, ran.err
        assert fitted_on(kept(subject)) == set(range(12))
        assert "run 1 of interpret.db: accepted or edited" in said(ran.out)

    @pytest.mark.usefixtures("reviewed")
    def test_labels_that_score_well_too_but_none_that_was_rejected(
        self, interpret: Interpret, tiny: list[str], subject: Subject
    ) -> None:
        ran = interpret("fit", "--labels", "1", *TO, *tiny, "--least-score", "embedding:0.8")
        assert ran.status == 0, ran.err
        assert fitted_on(kept(subject)) == {*range(12), 21, 22}

    def test_a_run_without_good_labels_says_how_to_get_some(
        self, interpret: Interpret, tiny: list[str], subject: Subject
    ) -> None:
        label(subject, dict(enumerate(WORDS)))
        ran = interpret("fit", "--labels", "1", *TO, *tiny)
        assert ran.status == 2
        assert "interpret review 1 judges them" in said(ran.err)

    @pytest.mark.usefixtures("reviewed")
    def test_a_run_of_another_subject_is_refused(self, interpret: Interpret) -> None:
        ran = interpret("fit", "--labels", "1", *TO)
        assert ran.status == 2
        assert "not about demo" in said(ran.err)


def scored(ids: dict[int, int], values: dict[int, float | None]) -> Iterator[ScoreRow]:
    """These scores, and controls that score better."""
    for feature, value in values.items():
        reason = "no texts" if value is None else None
        found = score(ids[feature], feature=feature, scorer="embedding", value=value, reason=reason)
        yield found
        yield score(ids[feature], feature=feature, scorer="embedding", variant="shuffled", value=0.99)
        yield score(ids[feature], feature=feature, scorer="detection", value=0.99)


class TestUse:
    @pytest.fixture(autouse=True)
    def adapter(self, interpret: Interpret, tiny: list[str]) -> None:
        assert interpret("fit", "--labels", labels(), *TO, *tiny).status == 0

    def test_a_run_uses_it_and_another_content_is_another_run(self, interpret: Interpret, tiny: list[str]) -> None:
        command = ("--features", "0-2", "--adapter", "a.safetensors", "--weights", "encoder", *SMALL, *tiny)
        ran = interpret(*command)
        assert ran.status == 0, ran.err
        assert "nothing left to do" in said(interpret(*command).out)
        with RunLog.open(LOG, read_only=True) as log:
            vectors = {item.settings.vector.adapter for item in log.read(evidence_of, 1, 0, 1)}
        assert vectors == {AdapterFile.at("a.safetensors")}
        assert interpret("replay", "1").status == 0
        Path("a.safetensors").unlink()
        assert interpret("fit", "--labels", "labels.jsonl", *TO, *tiny, "--seed", "5").status == 0
        assert "2, new" in said(interpret(*command).out)

    def test_a_run_of_another_subject_is_refused_before_any_feature(self, interpret: Interpret) -> None:
        ran = interpret("--features", "0-2", "--adapter", "a.safetensors", *SMALL)
        assert ran.status == 2
        assert "was fitted to" in said(ran.err)
        with RunLog.open(LOG) as log:
            assert log.read(all_runs) == []

    def test_weights_are_its_own_unless_others_are_asked_for_which_is_refused(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        own = interpret("tree", "5", "--adapter", "a.safetensors", *SMALL, *tiny)
        assert own.out == interpret("tree", "5", "--adapter", "a.safetensors", *ENCODER, *SMALL, *tiny).out
        others = interpret("tree", "5", "--adapter", "a.safetensors", "--weights", "decoder", *SMALL, *tiny)
        assert others.status == 2
        assert "was fitted to vectors of encoder weights, not of decoder; use --weights encoder" in said(others.err)

    def test_a_grid_has_it_with_its_own_weights_alone(self, interpret: Interpret, tiny: list[str]) -> None:  # noqa: ARG002
        options = {"weights": (), "scale": (), "pca": (), "prompts": (), "exponent": ()}
        options |= {"with_centroid": False, "without_centroid": False, "adapters": ("a.safetensors", "none")}
        for weights, expected in (
            ((), ["encoder", "encoder"]),
            (("encoder", "decoder"), ["decoder", "encoder", "encoder"]),
        ):
            grid, _ = grid_of({**options, "weights": weights})
            found = grid.settings(ProbeSettings(), 1.0)
            assert sorted(one.vector.weights for one in found) == expected
            assert [one.vector.weights for one in found if one.vector.adapter] == ["encoder"]

    def test_settings_compare_with_and_without_it(self, interpret: Interpret, tiny: list[str]) -> None:
        ran = interpret("compare", "--features", "0-2", "--adapter", "a.safetensors", "--adapter", "none", *tiny)
        assert ran.status == 2  # there are no texts to compare on; the settings themselves were understood
        assert "interpret examples" in said(ran.err)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--scale", "2"), "an adapter brings its own scale and bias"),
            (("--no-centroid",), "an adapter brings its own scale and bias"),
            (("--subject", "demo"), "was fitted to"),
        ],
    )
    def test_what_does_not_go_with_it_is_one_sentence(
        self, interpret: Interpret, tiny: list[str], options: tuple[str, ...], words: str
    ) -> None:
        subject = () if "--subject" in options else tiny
        ran = interpret("tree", "5", "--adapter", "a.safetensors", *SMALL, *subject, *options)
        assert ran.status == 2
        assert words in said(ran.err)

    def test_a_settings_file_may_name_it(self, interpret: Interpret, tiny: list[str]) -> None:
        Path("interpret.toml").write_text('[vector]\nadapter = "a.safetensors"\n', encoding="utf-8")
        assert "adapter a.safetensors" in interpret("tree", "5", *SMALL, *tiny).out
