"""Kinds of features by planted texts, what probes capture, settings told beforehand, and what is recommended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.cli.commands.recommended import RecommendedConfig, _vector, taken_up
from agent.cli.terminal.classes import prediction_words
from agent.config import RunConfig, resolve
from agent.errors import LogError
from agent.log.comparisons import ComparisonIdentity, FitRow, add_recommendation, begin_comparison
from agent.log.examples import begin_corpus
from agent.log.run_log import RunLog
from eval.compare.grid import Grid, axes_of, names_of
from eval.compare.kinds import KINDS, MIN_TOKENS, kind_of
from eval.compare.measures import CHOSEN_BY
from eval.compare.predicting import (
    COLUMNS,
    PredictionSource,
    _library,
    _prediction,
    columns_of,
    known_beforehand,
    predictions,
)
from eval.compare.report import SettingMeasures, setting_measures
from eval.compare.taxonomy import capture_result, captures, classes
from probes.errors import SettingsError
from probes.essence import essence_of
from probes.examples import Activity, Example, FeatureExamples, Split
from probes.settings import AdapterFile, ProbeSettings, VectorSettings
from probes.subject import Subject
from tests.logged import card, corpus_identity, identity

A, B = (ProbeSettings(vector=VectorSettings(weights=w, scale=1.0)) for w in ("encoder", "decoder"))
WINDOW = 16
LENGTH = 12
OTHER_IDS = range(60, 72)


def text(number: int, place: int, word: str, id: int, start: int = 0) -> Example:
    """Twelve tokens, on one of which the feature activates."""
    tokens = [f" w{n}" for n in range(LENGTH)]
    ids = [*OTHER_IDS]
    tokens[place], ids[place] = word, id
    activations = tuple(float(n == place) for n in range(LENGTH))
    return Example(3, "activating", f"d{number}", tuple(tokens), activations, tuple(ids), start)


def halves(make: Callable[[int], Example], n: int = 40) -> dict[Split, Sequence[Example]]:
    made = [make(number) for number in range(n)]
    return {"shown": made[::2], "held_out": made[1::2]}


def kind(subject: Subject, made: dict[Split, Sequence[Example]], window: int = WINDOW, n_active: int = 40) -> str:
    activity = Activity(3, 1000, n_active, 1.0, (0.0, 1.0), (n_active,))
    return kind_of(FeatureExamples(3, activity), made, subject.table, window)


def near(subject: Subject, id: int, n: int = 6) -> list[int]:
    """The tokens whose rows point most nearly where that token's does."""
    rows = subject.table.rows - subject.centroid
    cosines = torch.nn.functional.cosine_similarity(rows, rows[id][None], dim=1)
    return [i for i in cosines.argsort(descending=True).tolist() if i not in OTHER_IDS][:n]


class TestKinds:
    def test_every_rule_is_met_by_texts_planted_for_it(self, subject: Subject) -> None:
        dice = np.random.default_rng(0)
        close = near(subject, 100)
        planted = {
            "positional": halves(lambda n: text(n, (n % 3 == 0 and 5) or 2, f" x{n}", 80 + n, start=WINDOW * n)),
            "single token": halves(lambda n: text(n, n % 11, " Dog" if n % 2 else " dog", 100)),
            "concept": halves(lambda n: text(n, n % 11, f" x{n % 6}", close[n % 6])),
            "other": halves(lambda n: text(n, n % 11, f" x{n}", int(dice.integers(80, 300)))),
            "unknown": halves(lambda n: text(n, n % 11, " dog", 100), MIN_TOKENS - 1),
        }
        assert {name: kind(subject, made) for name, made in planted.items()} == {name: name for name in planted}
        assert kind(subject, halves(lambda n: text(n, 0, " dog", 100), 0), n_active=0) == "dead"
        assert {*planted, "dead"} == {*KINDS}

    def test_where_it_is_not_known_what_the_model_read_nothing_is_positional(self, subject: Subject) -> None:
        made = halves(lambda n: text(n, 2, " dog", 100))
        assert kind(subject, made) == "positional"
        assert kind(subject, made, window=0) == "single token"

    def test_texts_without_the_subjects_tokens_cannot_show_a_concept(self, subject: Subject) -> None:
        close = near(subject, 100)
        made = halves(lambda n: replace(text(n, n % 11, f" x{n % 6}", close[n % 6]), token_ids=None))
        assert kind(subject, made) == "other"


def fit(feature: int, measure: str, value: float | None, low: float = 0.6, texts_of: int | None = None) -> FitRow:
    of = feature if texts_of is None else texts_of
    return FitRow(feature, measure, of, value, None if value is not None else "never activated", low, 1.0, 20)


class TestCaptures:
    def test_a_probe_captures_where_the_auroc_is_high_and_surely_above_chance(self) -> None:
        rows = [fit(1, "list", 0.9), fit(2, "list", 0.69), fit(3, "list", 0.9, low=0.4), fit(4, "list", None)]
        others = [fit(1, "list", 0.9, texts_of=2), fit(2, "list", 0.4, texts_of=3), fit(1, "tree", 0.9)]
        found = capture_result([*rows, *others], "list")
        assert found.own == {1: True, 2: False, 3: False}
        assert (found.by_chance.value, found.by_chance.n) == (0.5, 2)

    def test_classes_count_what_both_probes_have_measured(self) -> None:
        by_list, by_tree = {1: True, 2: True, 3: False, 4: True}, {1: True, 2: False, 3: True, 5: False}
        assert captures([1, 2, 3, 4, 5], by_list, by_tree) == {
            "both": 1,
            "list only": 1,
            "tree only": 1,
            "neither": 0,
        }
        kinds = {1: "concept", 2: "concept", 3: "dead", 4: "other", 5: "other"}
        values = {A: setting_measures([], range(6)), B: setting_measures([], range(6))}
        found = classes(kinds, by_list, by_tree, values, A, 0)
        assert [(item.kind, item.n) for item in found] == [("dead", 1), ("concept", 2), ("other", 2), ("all", 5)]
        assert sum(item.n for item in found[:-1]) == found[-1].n
        assert found[1].share.value == pytest.approx(0.4)
        assert found[1].choice is None


def planted_values(best: Sequence[bool], seed: int = 0) -> dict[ProbeSettings, SettingMeasures]:
    """Features on which the decoder is better by .1 where `best`, and worse by .1 elsewhere."""
    noise = np.random.default_rng(seed).normal(0, 0.01, len(best))
    levels = {A: [0.6] * len(best), B: [0.7 if one else 0.5 for one in best]}
    return {
        setting: setting_measures(
            [fit(f, m, own[f] + noise[f] * (setting == B)) for f in range(len(best)) for m in ("list", "tree")]
            + [fit(f, m, 0.5, texts_of=f + 1000) for f in range(len(best)) for m in ("list", "tree")],
            range(len(best)),
        )
        for setting, own in levels.items()
    }


def source(best: Sequence[bool], known: Mapping[int, Sequence[float]], layer: int = 0) -> PredictionSource:
    return PredictionSource(layer, planted_values(best), axes_of([A, B]), known)


class TestPredictions:
    def test_what_hangs_on_the_layer_is_seen_over_several_saes(self) -> None:
        """In the first layer the encoder is better, in the others the decoder, whatever else is known."""
        dice = np.random.default_rng(3)
        columns = [{n: dice.normal(size=len(COLUMNS)).tolist() for n in range(60)} for _ in range(3)]
        sources = [source([layer > 0] * 60, known, layer) for layer, known in enumerate(columns)]
        assert columns_of(sources) == (*COLUMNS, "layer")
        (found,) = predictions(sources, CHOSEN_BY, 0)
        assert found.n_best == {"encoder": 60, "decoder": 120}
        assert found.accuracy.n == 180
        assert (found.accuracy.value or 0) > 0.95
        (blind,) = predictions([replace(one, layer=0) for one in sources], CHOSEN_BY, 0)
        assert blind.ahead.low is not None
        assert blind.ahead.low <= 0

    def test_a_planted_cause_is_found_and_worth_what_it_is_worth(self) -> None:
        dice = np.random.default_rng(1)
        columns = dice.normal(size=(200, len(COLUMNS)))
        best = [bool(row[2] > 0.3) for row in columns]
        known = {feature: row.tolist() for feature, row in enumerate(columns)}
        (found,) = predictions([source(best, known)], CHOSEN_BY, 0)
        assert found.axis == "weights"
        assert found.n_best == {"encoder": 200 - sum(best), "decoder": sum(best)}
        assert (found.accuracy.value or 0) > 0.9
        assert found.ahead.low is not None
        assert found.ahead.low > 0.15
        assert found.gain.value == pytest.approx(0.1 * sum(best) / 200, abs=0.015)
        assert prediction_words(found).startswith("weights can be predicted: a model of these columns is right on 9")
        assert "using it improves the fit: ." in prediction_words(found)

    def test_columns_of_noise_are_not_ahead_of_the_majority(self) -> None:
        dice = np.random.default_rng(2)
        known = {feature: dice.normal(size=len(COLUMNS)).tolist() for feature in range(200)}
        best = [bool(one) for one in dice.random(200) < 0.4]
        (found,) = predictions([source(best, known)], CHOSEN_BY, 0)
        assert found.ahead.low is not None
        assert found.ahead.low < 0
        assert found.majority.value == pytest.approx(1 - sum(best) / 200, abs=0.01)
        assert prediction_words(found).startswith("weights could not be predicted: a model of these columns is")

    def test_where_one_value_is_always_best_there_is_nothing_to_tell(self) -> None:
        known = {feature: [0.0] * len(COLUMNS) for feature in range(50)}
        (found,) = predictions([source([True] * 50, known)], CHOSEN_BY, 0)
        assert found.accuracy.value is None
        assert found.accuracy.reason is not None
        assert "was not tested, since one value is best on nearly every feature" in prediction_words(found)

    def test_a_value_that_is_best_once_keeps_none_of_the_others_from_being_predicted(self) -> None:
        known = {feature: [float(feature % 2)] * len(COLUMNS) for feature in range(41)}
        by_value = {
            name: {(0, f): float(f % 2 == place if f < 40 else name == "c") for f in range(41)}
            for place, name in enumerate("abc")
        }
        found = _prediction(_library(), "weights", by_value, {(0, f): row for f, row in known.items()}, 0)
        assert found.n_best == {"a": 20, "b": 20, "c": 1}
        assert (found.accuracy.value, found.accuracy.n) == (1.0, 40)
        ties = {name: dict.fromkeys(of, 0.5) for name, of in by_value.items()}
        tied = _prediction(_library(), "weights", ties, {(0, f): row for f, row in known.items()}, 0)
        assert tied.accuracy.reason == "no value is better than another on any feature"

    def test_what_is_known_beforehand_is_read_off_the_weights(self, subject: Subject) -> None:
        n_features = subject.card.n_features
        found = known_beforehand(subject, range(n_features), dict.fromkeys(range(n_features - 2), 0.01))
        assert found.keys() == {*range(n_features - 2)}, "those of unknown frequency are left out"
        encoder, decoder = subject.encoder_rows([4])[0], subject.decoder_rows([4])[0]
        cosine = float(encoder @ decoder / encoder.norm() / decoder.norm())
        assert found[4][:4] == pytest.approx([float(decoder.norm()), float(encoder.norm()), cosine, -2.0], rel=1e-4)


class TestGrid:
    BASE = ProbeSettings()

    def test_every_combination_once_resolved_in_the_order_asked_for(self) -> None:
        grid = Grid({"weights": ("encoder", "decoder"), "scale": (2.5, None, 3.8), "pca": ((), (0.1, 0.05))})
        found = grid.settings(self.BASE, 3.8)
        assert len(found) == 2 * 2 * 2, "the default scale is 3.8, which is named twice"
        assert found[0].vector == VectorSettings(weights="encoder", scale=2.5)
        assert {s.vector.scale for s in found} == {2.5, 3.8}

    def test_names_say_what_varies_and_no_more(self) -> None:
        grid = Grid({"weights": ("encoder", "decoder")})
        assert [*names_of(grid.settings(self.BASE, 3.8)).values()] == ["encoder", "decoder"]
        grid = Grid({"scale": (2.5, 3.8), "exponent": (1.0, 2.0)})
        names = [*names_of(grid.settings(self.BASE, 3.8)).values()]
        assert names[0] == "words, scale 2.5, exponent 1"
        assert len({*names}) == 4

    def test_bad_values_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="PCA weights"):
            Grid({"pca": ((2.0,),)}).settings(self.BASE, 3.8)

    def test_a_trees_essence_hangs_on_no_exponent_and_a_lists_on_no_prompt(self) -> None:
        base = self.BASE.model_copy(update={"vector": VectorSettings(weights="encoder")})
        one, other = Grid({"exponent": (1.0, 2.0)}).settings(base, 3.8)
        assert essence_of("tree", one) == essence_of("tree", other)
        assert essence_of("tokens", one) != essence_of("tokens", other)
        one, other = Grid({"prompt": ("definition", "x {ghost} y")}).settings(self.BASE, 3.8)
        assert essence_of("tree", one) != essence_of("tree", other)
        assert essence_of("tokens", one) == essence_of("tokens", other)


class TestRecommended:
    SETTINGS = ProbeSettings(vector=VectorSettings(weights="decoder", scale=2.0, pca=(0.1,)))

    @pytest.fixture
    def log(self, tmp_path: object) -> RunLog:
        log = RunLog.open(tmp_path / "log.db")  # type: ignore[operator]
        run_id = log.begin_run(identity(kind="compare", explainer=""), [1]).run_id
        corpus_id = log.write(begin_corpus, corpus_identity()).result()
        id = log.write(begin_comparison, ComparisonIdentity(run_id=run_id, corpus_id=corpus_id, settings={})).result()
        log.write(add_recommendation, card().fingerprint, id, A, "an older one").result()
        log.write(add_recommendation, card().fingerprint, id, self.SETTINGS, "because").result()
        return log

    def taken(self, log: RunLog, **given: Any) -> RecommendedConfig:
        with log:
            return taken_up(resolve(given), log, card())

    def test_what_is_not_given_is_taken_from_the_latest_recommendation(self, log: RunLog) -> None:
        config = self.taken(log, recommended=True).config
        assert config.probe.vector == self.SETTINGS.vector
        assert config.weights_plan == ("decoder",)
        assert config.probe.tree == RunConfig().probe.tree

    def test_what_is_given_stands(self, log: RunLog) -> None:
        config = self.taken(log, recommended=True, scale=1.5, weights="blend:0.5", exponent=1.4).config
        assert (config.probe.vector.scale, config.probe.vector.pca) == (1.5, (0.1,))
        assert config.weights_plan == ("blend:0.5",)

    def test_an_adapter_is_taken_whole_or_not_at_all(self) -> None:
        adapted = VectorSettings(weights="encoder", adapter=AdapterFile(path="a.safetensors", sha256="0" * 64))
        assert _vector(VectorSettings(), adapted) == adapted
        for given in ({"weights": "decoder"}, {"scale": 2.0}, {"centroid": False}):
            ours = VectorSettings.parse(given)
            assert _vector(ours, adapted) == ours
        assert _vector(adapted, VectorSettings(weights="decoder", scale=2.5, centroid=False)) == adapted

    @pytest.mark.parametrize("given", [{}, {"recommended": False}])
    def test_unless_it_is_asked_for_it_changes_nothing_and_is_told(self, log: RunLog, given: dict[str, Any]) -> None:
        found = self.taken(log, **given)
        assert found.config == resolve(given)
        ((name, words),) = found.advice
        assert name == "advice"
        assert words.startswith("decoder, scale 2, pca 0.1, by taxonomy of 20")
        assert words.endswith("(not used; --recommended applies it)")

    def test_another_subject_has_none(self, log: RunLog) -> None:
        with log:
            other = card(fingerprint="e" * 64)
            assert taken_up(resolve({}), log, other) == RecommendedConfig(resolve({}), [])
            with pytest.raises(LogError, match="holds no recommendation for tiny"):
                taken_up(resolve({"recommended": True}), log, other)

    def test_the_same_said_again_is_one_recommendation(self, tmp_path: Path) -> None:
        with RunLog.open(tmp_path / "log.db") as log:
            run_id = log.begin_run(identity(kind="compare", explainer=""), [1]).run_id
            corpus_id = log.write(begin_corpus, corpus_identity()).result()
            id = log.write(
                begin_comparison, ComparisonIdentity(run_id=run_id, corpus_id=corpus_id, settings={})
            ).result()
            for because in ("first", "first", "second", "first"):
                log.write(add_recommendation, card().fingerprint, id, A, because).result()
            said = "SELECT because FROM recommendations ORDER BY id"
            assert [because for (because,) in log.read(lambda db: db.execute(said).fetchall())] == [
                "first",
                "second",
                "first",
            ]
