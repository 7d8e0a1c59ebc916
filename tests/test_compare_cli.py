"""`interpret compare` from the command line: what it probes, keeps, prints, refuses and does not do again."""

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.commands import loading
from agent.cli.commands import score as score_command
from agent.cli.commands.compare_labels import Work
from agent.config import resolve
from agent.log.comparisons import (
    ComparisonIdentity,
    add_recommendation,
    begin_comparison,
    classes_of,
    compared_settings,
    comparisons_of,
    recommendation_for,
)
from agent.log.evidence import evidence_of, evidence_rounds
from agent.log.examples import corpora_of
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, all_runs, chosen_run
from agent.log.scores import ScoringIdentity, add_scores, begin_scoring, scorings_of
from probes.demo.shipped import load_truth
from probes.evidence import TokenList, Tree
from probes.presets import SubjectSource
from probes.settings import ProbeSettings, VectorSettings
from probes.subject import load_subject
from tests.fault_runs import Interpret, commands, environment
from tests.logged import outcome, score
from tests.score_commands import LOG, said

MANY = sorted(load_truth().features)[:20]
KNOWN = MANY[:12]
FEATURES = ("--features", ",".join(map(str, KNOWN)))
MORE = ("--features", ",".join(map(str, MANY)))
QUICK = ("--cutoff", "0.05", "--max-depth", "8", "--prompt", "definition")
PROMPT_TEXT = 'A typical definition of "{ghost}" would be "'


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with texts of a few features whose concept is known."""
    folder = tmp_path_factory.mktemp("examples")
    with environment(), chdir(folder), pytest.raises(SystemExit):
        main(["examples", *MORE, "--tokens", "30000"])
    return folder / LOG


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    shutil.copy(examples, LOG)
    with environment():
        yield


@pytest.fixture
def interpret(capsys: pytest.CaptureFixture[str]) -> Interpret:
    return commands(capsys)


def to_do(out: str) -> int:
    found = re.search(r"to do\s+([\d,]+) trees and lists", out)
    assert found is not None, out
    return int(found[1].replace(",", ""))


def test_a_planted_good_setting_wins_on_features_whose_concept_is_known(interpret: Interpret) -> None:
    """With all weight on a principal component every feature has the same vector, which knows none of them."""
    ran = interpret("compare", *FEATURES, *QUICK, "--weights", "encoder", "--pca", "1,0")
    assert ran.status == 0, ran.err
    assert to_do(ran.out) == 12 * 2 * 2
    assert re.search(r"baseline\s+encoder, pca 1 *\n", ran.out)
    assert re.search(r"^encoder beats encoder, pca 1 on \d+% of 12 features; specificity higher", ran.out, re.MULTILINE)
    assert "Chosen by specificity on 6 features: encoder." in said(ran.out)
    assert re.search(r"^list\s+encoder\s+\.[89]\d\d\s+\[\.\d+, (\.\d+|1\.000)\]\s+12\s+\.\d+", ran.out, re.MULTILINE)


def test_identical_settings_show_no_difference(interpret: Interpret) -> None:
    options = ("--cutoff", "0.05", "--max-depth", "8", "--prompt", "definition", "--prompt", PROMPT_TEXT)
    ran = interpret("compare", *FEATURES, *options, "--weights", "decoder", "--json")
    (found,) = json.loads(ran.out)
    assert len(found["settings"]) == 2
    for pair in found["pairs"]:
        assert pair["difference"]["value"] == pytest.approx(0.0, abs=1e-9), pair
        low, high = pair["difference"]["low"], pair["difference"]["high"]
        assert (low, high) == (None, None) or low <= 0 <= high, pair
        assert pair["ties"] == pair["difference"]["n"]
    assert all(verdict.startswith(("No difference", "Chosen")) for verdict in found["verdicts"])


def test_json_names_every_figure_with_its_n_and_why_some_are_lacking(interpret: Interpret) -> None:
    ran = interpret("compare", "--features", f"{KNOWN[0]},{KNOWN[1]},3", *QUICK, "--contrast", "off", "--json")
    (found,) = json.loads(ran.out)
    assert [*found["settings"]] == ["words", "encoder", "decoder"]
    assert found["baseline"] == "words"
    by_name = {(line["setting"], line["measure"]): line for line in found["measures"]}
    assert by_name["decoder", "list"]["mean"]["n"] == 2
    assert by_name["decoder", "list"]["unmeasured"] == [["no examples were collected of this feature", 1]]
    assert by_name["decoder", "agreement"]["mean"]["n"] == 3
    lacking = by_name["encoder", "divergence"]
    assert lacking["mean"]["value"] is None
    assert lacking["unmeasured"] == [["the tree was grown without a contrast", 3]]
    assert "examples" in ran.err, "what is not JSON goes elsewhere"


def test_what_is_in_the_log_is_not_probed_again_and_says_the_same(interpret: Interpret) -> None:
    first = interpret("compare", *FEATURES, *QUICK)
    again = interpret("compare", *FEATURES, *QUICK)
    assert (to_do(first.out), to_do(again.out)) == (72, 0)
    assert _tables(again.out) == _tables(first.out)
    wider = interpret("compare", *FEATURES, *QUICK, "--weights", "words,encoder,decoder,blend:0.5")
    assert to_do(wider.out) == 24
    exponents = interpret("compare", *FEATURES, *QUICK, "--weights", "encoder", "--exponent", "1.4,2")
    assert to_do(exponents.out) == 12, "an exponent changes no tree"
    other_half = interpret("compare", *FEATURES, *QUICK, "--seed", "1")
    assert to_do(other_half.out) == 0


def test_what_a_run_has_probed_is_used(interpret: Interpret) -> None:
    interpret(*FEATURES, *QUICK, "--rounds", "1")
    assert to_do(interpret("compare", *FEATURES, *QUICK, "--weights", "words").out) == 0


def test_the_evidence_is_a_run_of_its_own_which_other_commands_read_and_do_not_take_for_the_latest(
    interpret: Interpret,
) -> None:
    interpret(*FEATURES, *QUICK, "--rounds", "1")
    interpret("compare", *FEATURES, *QUICK, "--weights", "blend:0.5,blend:0.7")
    with RunLog.open(LOG, read_only=True) as log:
        labelling, comparing = log.read(all_runs)
        rounds = log.read(evidence_rounds, comparing.run_id, KNOWN[0])
        assert log.read(chosen_run, None).run_id == labelling.run_id
    assert (comparing.kind, comparing.status, comparing.n_asked) == ("compare", "finished", 12)
    assert [type(item) for item in rounds[1]] == [Tree, TokenList] * 2
    assert "compare" in interpret("log").out
    assert "nearest tokens" in interpret("show", str(KNOWN[0]), "--run", str(comparing.run_id)).out


def test_an_interrupted_comparison_goes_on_where_it_stopped(
    interpret: Interpret, monkeypatch: pytest.MonkeyPatch
) -> None:
    import eval.compare.work as work

    monkeypatch.setattr(work, "FEATURES", 4)
    real, calls = work.run_probes, []

    def once(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "run_probes", once)
    assert interpret("compare", *FEATURES, *QUICK).status == 130
    resumed = interpret("compare", *FEATURES, *QUICK)
    assert (resumed.status, to_do(resumed.out)) == (0, 48)


def test_a_steered_run_is_found_again_by_its_command_in_whatever_log_it_comes_to(interpret: Interpret) -> None:
    """Its maxima are of a corpus that has another number there, beside a later one of the same features."""
    command = ("--features", f"{KNOWN[0]},{KNOWN[1]}", *QUICK, "--rounds", "1", "--steer", "clamp")
    assert interpret(*command).status == 0
    Path(LOG).rename("there.db")
    for seed in ("3", "4"):
        interpret("examples", "--features", f"{KNOWN[0]},{KNOWN[2]}", "--tokens", "6000", "--seed", seed)
    assert interpret("import", "there.db").status == 0
    assert interpret("import", str(LOG), "--log", "third.db").status == 0
    for path in (str(LOG), "third.db"):
        assert "nothing left to do" in said(interpret(*command, "--log", path).out)
        assert "2 identical, 0 different" in said(interpret("replay", "1", "--log", path).out)
    with RunLog.open(LOG, read_only=True) as log:
        assert log.read(all_runs)[0].settings["maxima_corpus"] == log.read(corpora_of)[-1].identity


class TestTaxonomy:
    def test_kinds_captures_and_what_is_recommended_which_runs_take_up_if_told_to(self, interpret: Interpret) -> None:
        grid = ("--weights", "encoder", "--pca", "1,0", "--no-centroid")
        assert interpret("compare", *MORE, *QUICK, *grid).status == 0
        ran = interpret("taxonomy")
        assert ran.status == 0, ran.err
        assert re.search(r"settings\s+2 that were measured on all of them", ran.out)
        assert re.search(r"^all\s+20\s+1\.000 ", ran.out, re.MULTILINE)
        assert "A probe captures a feature where its AUROC under encoder is" in said(ran.out)
        assert "pca" in ran.out[ran.out.index("Predicted beforehand") :]
        assert "Nothing is recommended: the default (words, scale 0.9749) was not compared" in said(ran.out)
        with RunLog.open(LOG) as log:
            fingerprint = log.read(all_runs)[0].subject["fingerprint"]
            assert sorted(log.read(classes_of, fingerprint)) == MANY
            assert log.read(recommendation_for, fingerprint) is None
            (row,) = log.read(comparisons_of, fingerprint)
            origin = next(s for s in log.read(compared_settings, row.comparison_id) if s.vector.pca == ())
            log.write(add_recommendation, fingerprint, row.comparison_id, origin, "planted").result()
        one = ("--features", str(KNOWN[0]), *QUICK, "--rounds", "1")
        for options in ((), ("--no-recommended",), ("--new",)):
            assert "(not used; --recommended applies it)" in said(interpret(*one, *options).out)
        assert "(used where nothing else is given)" in said(interpret(*one, "--recommended").out)
        with RunLog.open(LOG, read_only=True) as log:
            runs = [run.settings for run in log.read(all_runs) if run.kind != "compare"]
        assert [run["probe"]["vector"]["centroid"] for run in runs] == [True, True, False]
        assert [run["weights_plan"] for run in runs] == [["words"], ["words"], ["encoder"]]

    def test_where_the_default_is_best_nothing_is_recommended(self, interpret: Interpret) -> None:
        interpret("compare", *FEATURES, *QUICK, "--weights", "words", "--pca", "1,0")
        ran = interpret("taxonomy", "--subject", "demo", "--subject", "demo")
        assert said(ran.out).count("Nothing other than words is recommended.") == 2
        assert ran.out.count("Predicted beforehand") == 3
        assert "2 subjects together" in ran.out
        assert interpret("--features", "1", "--recommended").status == 2

    def test_a_comparison_that_was_cut_off_at_once_hides_no_older_one(self, interpret: Interpret) -> None:
        def begin() -> None:
            with RunLog.open(LOG) as log:
                identity = ComparisonIdentity(
                    run_id=begun.run_id, corpus_id=begun.corpus_id, settings={"another": True}
                )
                log.write(begin_comparison, identity).result()

        interpret("compare", *FEATURES, *QUICK, "--weights", "words", "--pca", "1,0")
        with RunLog.open(LOG, read_only=True) as log:
            (begun,) = log.read(comparisons_of, log.read(all_runs)[0].subject["fingerprint"])
        begin()
        ran = interpret("taxonomy")
        assert ran.status == 0, ran.err
        with sqlite3.connect(LOG) as db:
            db.execute("DELETE FROM fits")
            db.execute("DELETE FROM compared")
        db.close()
        nothing = interpret("taxonomy")
        assert nothing.status == 2
        assert "holds no comparison of demo" in said(nothing.err)

    def test_without_a_comparison_it_says_how_to_make_one(self, interpret: Interpret) -> None:
        ran = interpret("taxonomy")
        assert ran.status == 2
        assert "interpret compare --features ... makes one" in said(ran.err)


class TestLabels:
    SIDES = (*QUICK, "--weights", "encoder,decoder")
    TWO = ("--features", f"{KNOWN[0]},{KNOWN[1]},{KNOWN[2]}", *SIDES, "--llm", "offline", "--rounds", "1")

    def test_each_setting_has_a_run_whose_labels_are_scored_and_compared(self, interpret: Interpret) -> None:
        dry = interpret("compare", *self.TWO, "--dry-run")
        assert dry.status == 0, dry.err
        assert "labels 2 runs, one for each setting, of 3 features" in said(dry.out)
        assert "6 labels to make, by rules, at no cost" in said(dry.out)
        with RunLog.open(LOG, read_only=True) as log:
            assert log.read(all_runs) == []
        ran = interpret("compare", *self.TWO)
        assert ran.status == 0, ran.err
        with RunLog.open(LOG, read_only=True) as log:
            compared, encoder, decoder = log.read(all_runs)
            assert [run.settings["weights_plan"] for run in (encoder, decoder)] == [["encoder"], ["decoder"]]
            assert [len(log.read(labels_of, run.run_id)) for run in (encoder, decoder)] == [3, 3]
            assert [len(log.read(scorings_of, run.run_id)) for run in (encoder, decoder)] == [1, 1]
        assert compared.kind == "compare"
        assert "Labels of decoder against encoder" in ran.out
        assert re.search(
            rf"run {encoder.run_id} \(scoring 1\), \d of run {decoder.run_id} \(scoring 2\)", said(ran.out)
        )
        assert "0 labels to make" in said(interpret("compare", *self.TWO, "--dry-run").out)
        again = interpret(*self.TWO[:2], *QUICK, "--rounds", "1", "--weights", "encoder")
        assert "nothing left to do" in said(again.out), "it is the run that interpret makes of the setting"

    def test_steered_settings_are_labelled_and_the_model_is_loaded_once(
        self, interpret: Interpret, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loads = []
        for module in (loading, score_command):
            monkeypatch.setattr(
                module, "load_subject", lambda source, beside=None: loads.append(source) or load_subject(source, beside)
            )
        ran = interpret("compare", *self.TWO, "--steer", "clamp")
        assert ran.status == 0, ran.err
        assert len(loads) == 1
        with RunLog.open(LOG, read_only=True) as log:
            _, *runs = log.read(all_runs)
            assert [(run.n_labelled + run.n_abstained, run.n_failed) for run in runs] == [(3, 0), (3, 0)]
            evidence = [log.read(evidence_of, run.run_id, feature, 1) for run in runs for feature in KNOWN[:3]]
            trees = [piece for pieces in evidence for piece in pieces if isinstance(piece, Tree)]
            assert {(tree.settings.steering.mode, tree.settings.steering.maximum is None) for tree in trees} == {
                ("clamp", False)
            }
            assert len({tree.settings.steering.maximum for tree in trees}) == 3, "each feature's own maximum"
        alone = interpret(*self.TWO[:2], *QUICK, "--rounds", "1", "--weights", "encoder", "--steer", "clamp")
        assert "nothing left to do" in said(alone.out), "it is the run that interpret makes of the setting"

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ('evidence = "examples"', "Explainer offline reads no examples: --evidence examples needs a hosted one."),
            ("feedback = true", "--feedback needs --llm anthropic or openai."),
        ],
    )
    def test_evidence_and_feedback_of_a_settings_file_count(
        self, interpret: Interpret, line: str, sentence: str
    ) -> None:
        Path("interpret.toml").write_text(f"[run]\n{line}\n", encoding="utf-8")
        ran = interpret("compare", *self.TWO, "--dry-run")
        assert ran.status == 2
        assert sentence in said(ran.err)

    def test_a_budget_is_shared(self) -> None:
        config = resolve({"budget-usd": 3.0, "budget-tokens": 100})
        names = {ProbeSettings(vector=VectorSettings(weights=w)): w for w in ("encoder", "decoder", "blend:0.5")}
        for n_subjects, share in (1, (1.0, 33)), (2, (0.5, 16)):
            work = Work(config, None, [1], names, n_subjects)  # type: ignore[arg-type]  # which subject does not matter
            shares = [work.config_of(setting) for setting in names]
            assert {(one.budget_usd, one.budget_tokens) for one in shares} == {share}
        assert [one.weights_plan for one in shares] == [("encoder",), ("decoder",), ("blend:0.5",)]

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--budget-usd", "1"), "--budget-usd is about labels of each setting; add --llm PROVIDER"),
            (("--rounds", "1"), "--rounds is about labels"),
            (("--candidates", "3"), "--candidates is about labels"),
            (("--llm", "offline", "--least-gain", "0.1"), "--least-gain stops rounds by the log's history"),
            (("--llm", "offline", "--json"), "--json prints what needs no labels"),
        ],
    )
    def test_what_would_do_nothing(self, interpret: Interpret, options: tuple[str, ...], sentence: str) -> None:
        ran = interpret("compare", "--features", "1", *options)
        assert ran.status == 2
        assert sentence in said(ran.err)


class TestRefusals:
    def test_no_texts(self, interpret: Interpret) -> None:
        ran = interpret("compare", "--features", "0-9", *QUICK, "--log", "other.db")
        assert ran.status == 2
        assert "interpret examples --features 0-9 --log other.db collects some" in said(ran.err)
        assert not Path("other.db").exists()

    def test_a_grid_of_too_many_settings(self, interpret: Interpret) -> None:
        many = ",".join(map(str, range(1, 102)))
        options = ("--weights", "encoder", "--scale", many, "--exponent", "1,2,3,4,5,6,7,8,9,10")
        ran = interpret("compare", *FEATURES, *QUICK, *options, "--log", "other.db")
        assert ran.status == 2
        assert "A grid of 1,010 combinations (101 of scale, 10 of exponent) is too large" in said(ran.err)
        assert ran.out.split() == ["loading", "demo"]
        assert not Path("other.db").exists()

    def test_too_many_probes_are_counted_and_timed_before_anything_is_written(
        self, interpret: Interpret, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import agent.cli.commands.compare
        import eval.compare.work as work

        monkeypatch.setattr(agent.cli.commands.compare, "MAX_PROBES", 20)
        monkeypatch.setattr(work, "MIN_TREES_FOR_TRIAL", 20)
        refused = interpret("compare", *FEATURES, *QUICK)
        assert refused.status == 2
        how = r"72 trees and lists, about \d+ s by 5 trees tried for \d+\.\d s; more than 20 are made only with --yes"
        assert re.search(how, said(refused.err))
        with RunLog.open(LOG, read_only=True) as log:
            assert log.read(all_runs) == []
            assert log.read(comparisons_of) == []
        allowed = interpret("compare", *FEATURES, *QUICK, "--yes")
        assert allowed.status == 0, allowed.err
        assert re.search(r"to do\s+72 trees and lists, about \d+ s by 5 trees", allowed.out)
        assert to_do(allowed.out) == 72, "what was tried is not kept"

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--weights", "encoder,nonsense"), "weights are words, vocabulary, encoder, decoder"),
            (("--scale", "2.5,wide"), "is not like 2.5,3.8,default"),
            (("--scale", "0"), "Setting vector.scale"),
            (("--pca", "0.1;0.2"), "is not like 0,0.1,0.1+0.05"),
            (("--prompt", "no ghost here"), "exactly one {ghost}"),
            (("--plot", "picture.txt"), "picture.txt"),
        ],
    )
    def test_bad_values_are_one_sentence(self, interpret: Interpret, options: tuple[str, ...], sentence: str) -> None:
        ran = interpret("compare", *FEATURES, *options)
        assert ran.status == 2
        assert sentence in said(ran.err)
        assert "Traceback" not in ran.err

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--features", "1", "--scorers", "embedding"), "--scorers is about labels of each setting; add --llm"),
            (("--runs", "1,2", "--weights", "encoder"), "--weights is about settings to probe"),
            (("--runs", "1,2", "--no-centroid"), "--no-centroid is about settings to probe"),
            (("--runs", "1,2", "--yes"), "--yes is about"),
            (("--runs", "1,2", "--cutoff", "0.1"), "--cutoff is about"),
            (("--runs", "1,2", "--steer", "add"), "--steer is about"),
            (("--runs", "1,2", "--negatives", "random"), "--negatives is about"),
            (("--runs", "1,2", "--embedder", "m"), "--embedder is about"),
            (("--runs", "1,2", "--subject", "demo"), "--subject is about"),
            (("--features", "1", "--subject", "demo", "--subject", "gemma-2b/6-res-jb", "--plot", "a.svg"), "--plot"),
        ],
    )
    def test_what_would_do_nothing(self, interpret: Interpret, options: tuple[str, ...], sentence: str) -> None:
        ran = interpret("compare", *options)
        assert ran.status == 2
        assert sentence in said(ran.err)

    def test_neither_features_nor_runs(self, interpret: Interpret) -> None:
        assert "either --features" in said(interpret("compare").err)


class TestPictures:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ((), "two.svg"),
            (("--scale", "0.5,1,2", "--weights", "encoder"), "curves.png"),
            (("--weights", "words,encoder,decoder,blend:0.5"), "rows.svg"),
        ],
    )
    def test_a_picture_is_written(self, interpret: Interpret, options: tuple[str, ...], name: str) -> None:
        ran = interpret("compare", "--features", f"{KNOWN[0]}-{KNOWN[0]},{KNOWN[1]}", *QUICK, *options, "--plot", name)
        assert ran.status == 0, ran.err
        assert Path(name).stat().st_size > 1000


class TestRuns:
    def scored(
        self, levels: dict[int, float | None], scorers: Sequence[str] = ("embedding",), run_id: int | None = None
    ) -> int:
        """A run whose labels have these scores by every scorer, by hand; or one more scoring of a run."""
        card = load_subject(SubjectSource(name="demo", device="cpu")).card
        with RunLog.open(LOG) as log:
            if run_id is None:
                identity = RunIdentity(subject=card, settings={"by": "hand"}, explainer="by hand", templates={})
                run_id = log.begin_run(identity, [*levels], new=True).run_id
                for feature in levels:
                    log.write(add_label, run_id, outcome(feature)).result()
            settings = {"negatives": ["random"], "texts": 20, "embedder": None, "seed": 0}
            settings |= {"scoring": len(log.read(scorings_of, run_id))}  # what tells two scorings of a run apart
            corpus_id = log.read(corpora_of)[0].corpus_id
            scoring = log.write(
                begin_scoring,
                ScoringIdentity(run_id=run_id, corpus_id=corpus_id, judge="none", settings=settings, templates={}),
            ).result()
            for feature, value in levels.items():
                (row,) = log.read(labels_of, run_id, features=[feature])
                reason = None if value is not None else "the label has no embedding"
                values = {"feature": feature, "metric": "auroc", "value": value, "reason": reason}
                log.write(
                    add_scores, scoring, [score(row.label_id, scorer=name, **values) for name in scorers]
                ).result()
        return run_id

    def test_two_scored_runs_are_compared_on_the_features_that_both_have(self, interpret: Interpret) -> None:
        first = self.scored({n: 0.5 + 0.01 * n for n in range(20)} | {30: 0.9})
        second = self.scored({n: 0.6 + 0.01 * n for n in range(20)} | {31: None})
        ran = interpret("compare", "--runs", f"{first},{second}")
        assert ran.status == 0, ran.err
        assert f"run {second} beats run {first} on 100% of 20 features; embedding (auroc) higher by .100." in said(
            ran.out
        )
        assert (
            f"Scored: 21 features of run {first} (scoring 1), 20 of run {second} (scoring 2); compared on the 20 that "
            "both have." in said(ran.out)
        )
        (found,) = json.loads(interpret("compare", "--runs", f"{first},{second}", "--json").out)
        assert (found["scorer"], found["versus"]["wins"], found["versus"]["difference"]["n"]) == ("embedding", 20, 20)

    def test_several_scorers_stand_in_the_order_of_the_first_run_and_one_of_them_is_drawn(
        self, interpret: Interpret
    ) -> None:
        names = [f"scorer{n}" for n in (3, 1, 4, 0, 5, 9, 2, 6)]
        first, second = (self.scored({n: 0.1 * n for n in range(8)}, order) for order in (names, sorted(names)))
        found = json.loads(interpret("compare", "--runs", f"{first},{second}", "--json").out)
        assert [item["scorer"] for item in found] == names
        refused = interpret("compare", "--runs", f"{first},{second}", "--plot", "runs.svg")
        assert refused.status == 2
        assert "--plot draws one scorer, and both runs have scorer3, scorer1" in said(refused.err)
        assert "choose one with --scorers" in said(refused.err)
        assert refused.out == ""
        drawn = interpret("compare", "--runs", f"{first},{second}", "--plot", "runs.svg", "--scorers", "scorer1")
        assert drawn.status == 0, drawn.err
        assert Path("runs.svg").stat().st_size > 1000

    def test_of_several_scorings_the_latest_is_taken_and_named(self, interpret: Interpret) -> None:
        first, second = self.scored(dict.fromkeys(range(8), 0.9)), self.scored(dict.fromkeys(range(8), 0.5))
        self.scored(dict.fromkeys(range(8), 0.6), run_id=first)
        ran = interpret("compare", "--runs", f"{second},{first}")
        assert f"run {first} beats run {second} on 100% of 8 features; embedding (auroc) higher by .100" in said(
            ran.out
        )
        assert "(scoring 2), 8 of run 1 (scoring 3; the latest, beside 1 older)".replace("run 1", f"run {first}") in (
            said(ran.out)
        )

    def test_runs_without_scores_in_common_are_told_how_to_get_them(self, interpret: Interpret) -> None:
        first, second = self.scored({1: 0.5}), self.scored({1: 0.5})
        ran = interpret("compare", "--runs", f"{first},{second}", "--scorers", "detection")
        assert ran.status == 2
        assert f"no scores by detection on the same texts by the same judge; interpret score {first}" in said(ran.err)

    @pytest.mark.parametrize("runs", ["1", "1,1", "1,x", "1,2,3"])
    def test_what_names_no_two_runs_is_refused(self, interpret: Interpret, runs: str) -> None:
        ran = interpret("compare", "--runs", runs)
        assert ran.status == 2
        assert "does not name two runs" in said(ran.err)


def _tables(out: str) -> str:
    """Returns what is printed below the opening."""
    return out[out.index("\nmeasure") :]
