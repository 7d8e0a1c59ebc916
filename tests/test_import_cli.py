"""`interpret examples --import`: other tools' files and Neuronpedia's server, from the command line into the log."""

import json
import re
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from agent.cli.commands import examples
from agent.cli.commands.examples import BASE_URL_VARIABLE
from agent.log.examples import corpora_of, examples_of
from agent.log.run_log import RunLog
from tests.example_files import SAE, api_record, lines, np_text, plain, write
from tests.fault_runs import Interpret
from tests.score_commands import LOG, N_FEATURES, label, named, said, stored

pytestmark = pytest.mark.usefixtures("own_folder")


class TestImport:
    def test_neuronpedias_files(self, interpret: Interpret, tiny: list[str]) -> None:
        write(Path("export/activations/batch-0.jsonl.gz"), lines(np_text(n) for n in (2, 4, 4, 99)))
        write(Path("export/features/batch-0.jsonl.gz"), lines([{**SAE, "index": 2, "frac_nonzero": 0}, b"{half"]))
        ran = interpret("examples", "--features", "0-5", *tiny, "--import", "export")
        assert ran.status == 0, ran.err
        assert "neuronpedia:gemma-x/6-res-jb, " in ran.out
        assert "2 of the 6 asked for, 3 examples" in ran.out
        assert re.search(r"left out\s+batch-0\.jsonl\.gz, line 2: ", ran.out)
        assert stored() == {"neuronpedia:gemma-x/6-res-jb": [2, 4]}

    def test_saedashboards_and_plain_files(self, interpret: Interpret, tiny: list[str]) -> None:
        text = {"bin_min": -1, "bin_max": 3.5, "bin_contains": -1, "tokens": ["a", " cat"], "values": [0, 1.5]}
        batch = {"model_id": "m", "layer": 6, "sae_set": "s", "features": [{"feature_index": 8, "activations": [text]}]}
        write(Path("batch-3.json"), json.dumps(batch).encode())
        write(Path("mine.jsonl"), lines([plain(8), plain(10), b"\xff", plain(8, activations=[1])]))
        assert interpret("examples", "--features", "8", *tiny, "--import", "batch-3.json").status == 0
        ran = interpret("examples", "--features", "8,10", *tiny, "--import", "mine.jsonl")
        assert ran.status == 0, ran.err
        assert [*map(int, re.findall(r"mine\.jsonl, line (\d)", ran.out))] == [3, 4]
        assert stored() == {"saedashboard:m/6/s": [8], "jsonl:mine.jsonl": [8, 10]}

    def test_delphis_cache_and_that_of_another_subject(self, interpret: Interpret, tiny: list[str]) -> None:
        def cache(folder: str, ids: torch.Tensor) -> None:
            Path(folder).mkdir(parents=True)
            locations = torch.tensor([[0, 3, 6], [1, 7, 6]])
            activations = torch.tensor([2.0, 1.0])
            save_file(
                {"locations": locations, "activations": activations, "tokens": ids},
                Path(folder) / f"0_{N_FEATURES - 1}.safetensors",
            )

        cache("good/layers.1", torch.arange(10, 30).reshape(2, 10))
        cache("other/layers.1", torch.arange(10, 30).reshape(2, 10) + 100_000)
        ran = interpret("examples", "--features", "0-9", *tiny, "--import", "good")
        assert ran.status == 0, ran.err
        assert stored() == {"delphi:layers.1": [6]}
        other = interpret("examples", "--features", "0-9", *tiny, "--import", "other")
        assert (other.status, other.err.count("\n")) == (2, 1)
        assert "another subject" in other.err
        assert stored() == {"delphi:layers.1": [6]}

    def test_examples_of_another_subject_are_refused(self, interpret: Interpret, tiny: list[str]) -> None:
        """Features 38 and 40 are not active at the cat of their texts, feature 4 activates there."""
        texts = [plain(feature, tokens=[f"{n}", " cat"]) for feature in (38, 40, 4) for n in range(4)]
        write(Path("mine.jsonl"), lines(texts))
        ran = interpret("examples", "--features", "4,38,40", *tiny, "--import", "mine.jsonl")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "feature 38 activates on 0 of its 3 strongest texts (2 of 3 features activate on none" in ran.err
        assert stored() == {}
        assert interpret("examples", "--features", "4,40", *tiny, "--import", "mine.jsonl").status == 0

    def test_a_file_with_other_texts_in_it_is_another_corpus(self, interpret: Interpret, tiny: list[str]) -> None:
        for words in ("a", "a", "the"):
            write(Path("mine.jsonl"), lines([plain(8, tokens=[words, " cat"])]))
            interpret("examples", "--features", "8", *tiny, "--import", "mine.jsonl")
        with RunLog.open(LOG) as log:
            found = [log.read(examples_of, corpus.corpus_id, 8) for corpus in log.read(corpora_of)]
        assert [one.examples[0].text for one in found if one] == ["the cat", "a cat"]

    def test_an_import_twice_is_there_once(self, interpret: Interpret, tiny: list[str]) -> None:
        write(Path("mine.jsonl"), lines([plain(8), plain(8, tokens=["the", " dog"])]))
        for _ in range(2):
            interpret("examples", "--features", "8", *tiny, "--import", "mine.jsonl")
        with RunLog.open(LOG) as log:
            (corpus,) = log.read(corpora_of)
            found = log.read(examples_of, corpus.corpus_id, 8)
        assert found is not None
        assert len(found.examples) == 2

    def test_each_imported_feature_is_scored_against_the_texts_of_the_others(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        label(named(tiny), {4: "cat", 40: "dog"})
        activates = [plain(4, tokens=[f"{n}", " cat"]) for n in range(12)]
        non_activating = [plain(4, tokens=["the", f" house {n}"], activations=[0, 0]) for n in range(12)]
        write(
            Path("mine.jsonl"),
            lines([*activates, *non_activating, *(plain(40, tokens=["a", f" dog {n}"]) for n in range(12))]),
        )
        interpret("examples", "--features", "4,40", *tiny, "--import", "mine.jsonl")
        scored = interpret("score", *tiny)
        assert scored.status == 0, scored.err
        assert "unscored" not in scored.out
        assert re.search(r"held out\s+the run's label\s+1\.00\s+2\b", scored.out)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--import", "nowhere"], "no file or folder nowhere"),
            (["--import", "mine.jsonl", "--format", "word"], "Format 'word' is unknown"),
            (["--import", "mine.jsonl", "--features", "8"], "mine.jsonl holds 2 records, but none of the 1 features"),
            (["--import", "mine.jsonl", "--format", "neuronpedia"], "No example could be read as neuronpedia"),
            (["--import", "prose.jsonl"], "cannot be told from its files"),
            (["--import", "neuronpedia:gemma-2b"], "write neuronpedia:MODEL/SOURCE"),
            (["--import", "mine.jsonl", "--features", "9999"], "9999"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_imported_is_one_sentence(
        self, arguments: list[str], words: str, interpret: Interpret, tiny: list[str]
    ) -> None:
        write(Path("mine.jsonl"), lines([plain(5), plain(7)]))
        Path("prose.jsonl").write_text("once upon a time\n")
        given = arguments if "--features" in arguments else ["--features", "5", *arguments]
        ran = interpret("examples", *given, *tiny)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert words in ran.err


class Pages(BaseHTTPRequestHandler):
    """A server of records; it has none above 13."""

    def do_GET(self) -> None:
        model, source, index = self.path.removeprefix("/api/feature/").split("/")
        self.server.asked.append(int(index))  # type: ignore[attr-defined]
        there = (model, source) == ("gemma-x", "6-res-jb") and int(index) <= 13
        body = json.dumps(api_record(index=index)).encode() if there else b""
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing to the terminal."""


class TestNeuronpedia:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
        with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as http:
            http.asked = []  # type: ignore[attr-defined]
            Thread(target=http.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
            monkeypatch.setenv(BASE_URL_VARIABLE, f"http://127.0.0.1:{http.server_port}")
            yield http.asked  # type: ignore[attr-defined]
            http.shutdown()

    def test_records_are_fetched_and_kept_with_their_explanations(
        self, interpret: Interpret, tiny: list[str], asked: list[int]
    ) -> None:
        ran = interpret("examples", "--features", "12-15", *tiny, "--import", "neuronpedia:gemma-x/6-res-jb")
        assert ran.status == 0, ran.err
        assert asked == [12, 13, 14, 15]
        assert "2 of the 4 asked for, 4 examples" in ran.out
        for feature in (14, 15):
            assert f"has no record of gemma-x/6-res-jb/{feature}" in said(ran.out)
        with RunLog.open(LOG) as log:
            (corpus,) = log.read(corpora_of)
            found = log.read(examples_of, corpus.corpus_id, 12)
        assert (corpus.source, corpus.settings) == (
            "neuronpedia:gemma-x/6-res-jb",
            {"path": "neuronpedia:gemma-x/6-res-jb", "unit": "sae"},
        )
        assert found is not None
        assert [baseline.text for baseline in found.baselines] == ["cats"]
        assert [example.text for example in found.examples] == [" a cats."]

    def test_what_the_log_has_is_not_fetched_again(
        self, interpret: Interpret, tiny: list[str], asked: list[int]
    ) -> None:
        command = ["examples", *tiny, "--import", "neuronpedia:gemma-x/6-res-jb", "--features"]
        interpret(*command, "11-12")
        assert interpret(*command, "10-13").status == 0
        assert asked == [11, 12, 10, 13]
        assert "examples of all 4 features are in the log" in said(interpret(*command, "10-13").out)
        assert stored() == {"neuronpedia:gemma-x/6-res-jb": [10, 11, 12, 13]}

    def test_ctrl_c_keeps_what_was_fetched(
        self, interpret: Interpret, tiny: list[str], asked: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetch = examples.fetch_record

        def until_twelve(model: str, source: str, index: int, base_url: str) -> bytes:
            if index == 12:
                signal.raise_signal(signal.SIGINT)
            return fetch(model, source, index, base_url)

        monkeypatch.setattr(examples, "fetch_record", until_twelve)
        ran = interpret("examples", *tiny, "--import", "neuronpedia:gemma-x/6-res-jb", "--features", "10-13")
        assert (ran.status, asked) == (130, [10, 11])
        assert "finished work is in the log, and the same command continues from there" in ran.err
        assert stored() == {"neuronpedia:gemma-x/6-res-jb": [10, 11]}

    def test_after_a_few_in_vain_no_more_are_asked_for(
        self, interpret: Interpret, tiny: list[str], asked: list[int]
    ) -> None:
        ran = interpret("examples", "--features", "13-30", *tiny, "--import", "neuronpedia:gemma-x/6-res-jb")
        assert (ran.status, asked) == (0, [13, 14, 15, 16, 17, 18])
        assert "so the other 12 were not tried" in said(ran.out)

    def test_without_a_single_record_it_is_one_sentence(
        self, interpret: Interpret, tiny: list[str], asked: list[int]
    ) -> None:
        ran = interpret("examples", "--features", "0-20", *tiny, "--import", "neuronpedia:gemma-y/6-res-jb")
        assert (ran.status, ran.err.count("\n"), len(asked)) == (2, 1, 5)
        assert "No record of neuronpedia:gemma-y/6-res-jb could be fetched: Neuronpedia has no record" in ran.err
        assert stored() == {}

    def test_a_server_that_is_not_there(
        self, interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(BASE_URL_VARIABLE, "http://127.0.0.1:9")
        ran = interpret("examples", "--features", "0-20", *tiny, "--import", "neuronpedia:gemma-x/6-res-jb")
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "no answer from http://127.0.0.1:9" in ran.err

    def test_the_page_of_another_sae_is_refused(self, interpret: Interpret, tiny: list[str], asked: list[int]) -> None:
        own = Path("sae")
        own.mkdir()
        config = json.loads((Path(tiny[3]) / "cfg.json").read_text())
        config["metadata"]["neuronpedia_id"] = "gemma-x/7-res-jb"
        (own / "cfg.json").write_text(json.dumps(config))
        (own / "sae_weights.safetensors").write_bytes((Path(tiny[3]) / "sae_weights.safetensors").read_bytes())
        mine = [*tiny[:2], "--sae", "sae"]
        fetched = interpret("examples", "--features", "10", *mine, "--import", "neuronpedia:gemma-x/6-res-jb")
        write(Path("export/batch-0.jsonl"), lines([np_text(10)]))
        read = interpret("examples", "--features", "10", *mine, "--import", "export")
        for ran in (fetched, read):
            assert (ran.status, ran.err.count("\n")) == (2, 1)
            assert "Examples of neuronpedia:gemma-x/6-res-jb are not of" in ran.err
        assert asked == []
        write(Path("right/batch-0.jsonl"), lines([np_text(10, layer="7-res-jb")]))
        assert interpret("examples", "--features", "10", *mine, "--import", "right").status == 0
