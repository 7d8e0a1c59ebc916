"""The command line end to end, on a tiny subject with random weights: contracts, exit statuses, sentences."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GemmaConfig, GemmaForCausalLM, PreTrainedTokenizerFast

from agent.cli.commands import token_pass
from agent.cli.commands.doctor import KEYS
from agent.cli.interpret import interpret, main
from agent.cli.terminal.bars import watched
from agent.llm.anthropic import Anthropic
from agent.llm.openai import OpenAI
from tests.fakes import FakeExplainer
from tests.trees import tree_of

D_MODEL, N_FEATURES = 16, 24
TEXT = 'A typical definition of "dog" would be "a kind of animal that barks at the baker in the tower"'


@dataclass(frozen=True)
class Ran:
    """The output of one command, and its exit status."""

    status: int
    out: str
    err: str


Interpret = Callable[..., Ran]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name a tiny Gemma with an SAE, both laid out as on the hub."""
    folder = tmp_path_factory.mktemp("subject")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted({character for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(TEXT) for character in word})
    trainer = trainers.BpeTrainer(
        vocab_size=90, special_tokens=["<pad>", "<bos>", "<unused0>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", pad_token="<pad>")
    wrapped.save_pretrained(folder / "model")
    _save_model(folder / "model", len(wrapped))
    _save_sae(folder / "sae")
    return ["--model", str(folder / "model"), "--sae", str(folder / "sae"), "--device", "cpu"]


def _save_model(folder: Path, vocab: int) -> None:
    torch.manual_seed(0)
    config = GemmaConfig(
        vocab_size=vocab,
        hidden_size=D_MODEL,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
        initializer_range=0.5,
    )
    GemmaForCausalLM(config).save_pretrained(folder)


def _save_sae(folder: Path) -> None:
    folder.mkdir()
    config = {"architecture": "standard", "d_in": D_MODEL, "d_sae": N_FEATURES, "dtype": "float32"}
    config["metadata"] = {"model_name": "tiny", "hook_name": "blocks.0.hook_resid_post", "prepend_bos": True}
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {
        "W_enc": torch.randn(D_MODEL, N_FEATURES),
        "W_dec": torch.randn(N_FEATURES, D_MODEL),
        "b_enc": torch.zeros(N_FEATURES),
        "b_dec": torch.zeros(D_MODEL),
    }
    save_file(tensors, folder / "sae_weights.safetensors")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Interpret:
    def command(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return command


SMALL = ["--cutoff", "0.02", "--max-depth", "5", "--rounds", "2"]


def test_a_run_prints_what_it_does_labels_and_logs(run: Interpret, subject: list[str]) -> None:
    ran = run("--features", "0-7", *subject, *SMALL)
    assert ran.status == 0, ran.err
    heads = [line.split()[0] for line in ran.out.splitlines() if line and not line.startswith(" ")]
    facts = [head for head in heads if head not in {"working", "reading"}]
    assert facts[:7] == ["loading", "subject", "base", "explainer", "features", "log", "run"]
    assert "base prompt  definition" in ran.out
    assert "not a language model" in ran.out
    assert "8 features:" in ran.out
    assert Path("interpret.db").exists()
    rows = json.loads(run("log", "1", "--json").out)
    assert [row["feature"] for row in rows] == list(range(8))
    by_name = run("--features", "0-7", *subject, *SMALL, "--prompt", "definition")
    assert "nothing left to do" in by_name.out  # the same run: what was chosen is what was named
    assert "base prompt" not in by_name.out
    assert {row["status"] for row in rows} <= {"labelled", "abstained"}


def test_the_same_command_says_that_nothing_is_left_and_more_features_extend_the_run(
    run: Interpret, subject: list[str]
) -> None:
    run("--features", "0-2", *subject, *SMALL)
    again = run("--features", "0-2", *subject, *SMALL)
    assert (again.status, "nothing left to do" in again.out) == (0, True)
    more = run("--features", "0-4", *subject, *SMALL)
    assert "1, resumed: 3 of 5 features were done before" in more.out
    new = run("--features", "0-1", *subject, *SMALL, "--new")
    assert "2, new" in new.out
    runs = json.loads(run("log", "--json").out)
    assert [(found["run_id"], found["n_asked"], found["status"]) for found in runs] == [
        (1, 5, "finished"),
        (2, 2, "finished"),
    ]


def test_a_settings_file_that_was_read_is_named(run: Interpret, subject: list[str]) -> None:
    Path("interpret.toml").write_text("[tree]\ncutoff = 0.02\nmax-depth = 5\n", encoding="utf-8")
    ran = run("--features", "0", *subject, "--rounds", "1")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("settings     interpret.toml\nloading      ")


def test_a_long_pass_says_that_it_has_begun_where_there_is_no_terminal_for_a_bar() -> None:
    written = StringIO()
    screen = Console(file=written)
    with token_pass._telling(screen, 90) as tell:
        assert not written.getvalue()  # nothing is read where the cache has it
        for done in (30, 60, 90):
            tell(done, 90)
    assert list(watched(screen, "base prompts", ["a", "b"])) == ["a", "b"]
    assert written.getvalue() == "reading      90 tokens, each alone\nworking on   2 base prompts\n"


def test_log_and_show_read_it_back(run: Interpret, subject: list[str]) -> None:
    run("--features", "3,5", *subject, *SMALL)
    assert "finished" in run("log").out
    assert run("log", "1").out.splitlines()[1].startswith("3")
    assert "No label" in run("log", "1", "--search", "zebra => \"'*").out
    shown = run("show", "5")
    assert shown.status == 0
    for words in ("round 1", 'A typical definition of "▢" would be "', "words", "activated most by", "calls"):
        assert words in shown.out
    assert run("show", "5", "--run", "1").out == shown.out
    nothing = run("show", "4")
    assert (nothing.status, "asked for 3,5" in nothing.err) == (2, True)


def test_a_tree_as_json_holds_the_contract(run: Interpret, subject: list[str]) -> None:
    ran = run("tree", "7", "--json", *subject, "--cutoff", "0.02", "--top-k", "3", "--max-depth", "4", "--scale", "2")
    tree = json.loads(ran.out)
    contract = ["feature", "settings", "prompt", "prompt_ids", "ghost_position", "placeholder_id", "n_nodes", "root"]
    assert list(tree) == [*contract, "readout"]
    assert list(json.loads(run("tree", "7", "--json", *subject, "--contrast", "off").out)) == contract
    assert (tree["feature"], tree["settings"]["vector"]["scale"]) == (7, 2.0)
    assert tree["prompt_ids"][tree["ghost_position"]] == tree["placeholder_id"]
    root, n_nodes, waiting = tree["root"], 1, [(tree["root"], 0)]
    assert (root["token_id"], root["token"], root["probability"]) == (None, "", 1.0)
    for node, depth in waiting:
        children = [child["probability"] for child in node["children"]]
        assert children == sorted(children, reverse=True)
        assert len(children) <= 3
        assert depth <= 4
        assert all(0.02 <= p <= node["probability"] for p in children)
        waiting += [(child, depth + 1) for child in node["children"]]
        n_nodes += len(children)
    assert n_nodes == tree["n_nodes"] > 3


def test_a_tree_is_drawn_in_the_terminal_and_as_pictures(run: Interpret, subject: list[str]) -> None:
    options = ("tree", "7", *subject, *SMALL[:4])
    drawn = run(*options)
    assert drawn.out.startswith('A typical definition of "▢" would be "')
    assert len(run(*options, "--trim", "0.2").out) < len(drawn.out)
    assert run(*options, "--svg", "tree.svg").status == 0
    assert ElementTree.parse("tree.svg").getroot().tag.endswith("svg")
    assert run(*options, "--dot").out.startswith("digraph")


def test_vector_options_change_what_is_made(run: Interpret, subject: list[str]) -> None:
    def made(*options: str) -> str:
        ran = run("tokens", "7", "--json", *subject, *options)
        assert ran.status == 0, ran.err
        return json.dumps(json.loads(ran.out)["tokens"])

    of_tokens, plain = made(), made("--weights", "encoder")
    assert made("--weights", "vocabulary", "--scale", "9") == of_tokens != plain
    changes = (["--weights", "decoder"], ["--weights", "blend:0.4"], ["--scale", "9"], ["--no-centroid"])
    for change in (*changes, ["--pca", "0.3,0.2"], ["--exponent", "3"], ["--top-n", "5"]):
        assert made("--weights", "encoder", *change) != plain, change
    assert made("--weights", "encoder", "--centroid") == plain


def test_the_deepest_tree_there_can_be_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    from agent.cli.commands.probe import print_json
    from probes.evidence import tree_json

    print_json(tree_json(tree_of([(["a"] * 1000, 0.5)])))
    assert capsys.readouterr().out.count('"children"') == 1001


def test_tokens_as_json_and_as_a_table(run: Interpret, subject: list[str]) -> None:
    contract, item = ["feature", "settings", "tokens"], ["token_id", "token", "score"]
    for weights, more, z in (("encoder", [], []), ("vocabulary", ["threshold", "p_value", "n_random", "note"], ["z"])):
        tokens = json.loads(run("tokens", "7", "--json", "--top-n", "9", "--weights", weights, *subject).out)
        assert list(tokens) == [*contract, *more]
        assert len(tokens["tokens"]) == 9
        scores = [token["score"] for token in tokens["tokens"]]
        assert scores == sorted(scores, reverse=weights == "vocabulary")
        assert list(tokens["tokens"][0]) == [*item, *z]
    assert len(run("tokens", "7", "--top-n", "9", *subject).out.splitlines()) == 11


def test_doctor_tells_of_keys_but_never_their_values(
    run: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS[0], "sk-planted-secret")
    ran = run("doctor", *subject)
    assert ran.status == 2  # since a random SAE explains nothing of what it reads
    assert run("doctor").status == 0
    assert "planted-secret" not in ran.out + ran.err
    lines = {line.split("  ")[0]: line for line in ran.out.splitlines()}
    assert lines[f"key {KEYS[0]}"].endswith(" set")
    assert lines[f"key {KEYS[1]}"].endswith("not set")
    assert {*Anthropic.key_variables, *OpenAI.key_variables} == {*KEYS}
    assert "does not exist yet" in lines["log"]
    assert f"{N_FEATURES} features" in " ".join(ran.out.split())
    assert not Path("interpret.db").exists()
    assert "subject" not in [line.split()[0] for line in run("doctor").out.splitlines()]


def test_doctor_fails_where_what_was_asked_for_will_not_work(run: Interpret) -> None:
    Path("notes.db").write_text("no database at all, but long enough to be looked at as one " * 20)
    ran = run("doctor", "--log", "notes.db")
    assert ran.status == 2
    assert "notes.db" in ran.out
    assert "Traceback" not in ran.out + ran.err


def test_a_run_says_which_keys_it_leaves_unused(
    run: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS[1], "sk-planted-secret")
    ran = run("--features", "1", *subject, *SMALL)
    assert f"{KEYS[1]} is set but not used: add --llm anthropic or --llm openai" in " ".join(ran.out.split())
    assert "planted-secret" not in ran.out + ran.err
    assert b"planted-secret" not in Path("interpret.db").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--features", "24"], "24"),
        (["--features", "dog"], "'dog'"),
        (["--features", "5-2"], "5-2"),
        (["--features", "-3"], "-3"),
        (["--features", "1", "--scale", "nan"], "scale"),
        (["--features", "1", "--scale", "-1"], "scale"),
        (["--features", "1", "--scale", "big"], "scale"),
        (["--features", "1", "--cutoff", "0"], "cutoff"),
        (["--features", "1", "--cutoff", "1.5"], "cutoff"),
        (["--features", "1", "--top-k", "0"], "--top-k"),
        (["--features", "1", "--prompt", ""], "prompt"),
        (["--features", "1", "--prompt", "no place for it"], "prompt"),
        (["--features", "1", "--pca", "a,b"], "'a,b'"),
        (["--features", "1", "--weights", "both"], "weights"),
        (["--features", "1", "--llm", "anthropic"], "ANTHROPIC_API_KEY"),
        (["--features", "1", "--llm", "openai", "--base-url", "localhost:8000"], "http://"),
        (["--features", "1", "--budget-usd", "-1"], "--budget-usd"),
        (["--features", "1", "--llm", "oracle"], "oracle"),
        (["--features", "1", "--settings", "nowhere.toml"], "nowhere.toml"),
        (["--features", "1", "--log", "no/such/folder/x.db"], "no/such/folder"),
        (["--features", "1", "--device", "toaster"], "toaster"),
        (["--features", "1", "--sae", "no/such/sae"], "no/such/sae"),
        (["--features"], "--features"),
        (["--fetures", "1"], "--fetures"),
        (["tre", "1"], "tre"),
        (["tree"], "FEATURE"),
        (["tree", "24"], "24"),
        (["tree", "1-3"], "single index"),
        (["tree", "1", "--json", "--dot"], "choose one"),
        (["tree", "1", "--trim", "2"], "trim"),
        (["tree", "1", "--json", "--trim", "0.1"], "--trim says what is drawn"),
        (["examples", "--features", "1", "--format", "jsonl"], "--format is about the files of --import"),
        (["tree", "1", "--svg", "no/such/folder/x.svg"], "no/such/folder"),
        (["tokens", "1", "--exponent", "0"], "exponent"),
        (["log"], "interpret.db"),
        (["show", "1"], "interpret.db"),
        (["log", "--status", "fine"], "fine"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_sentence_and_status_2(
    run: Interpret, subject: list[str], arguments: list[str], words: str
) -> None:
    takes_subject = arguments[0] in ("tree", "tokens", "--features") and len(arguments) > 1 and arguments != ["tree"]
    given = subject[:2] + subject[4:] if "--sae" in arguments else subject[:4] if "--device" in arguments else subject
    ran = run(*arguments, *(given if takes_subject else []))
    assert "\nsubject" not in ran.out
    assert ran.status == 2
    assert ran.err.startswith("interpret: ")
    assert ran.err.count("\n") == 1
    assert words in ran.err


def test_a_foreign_file_is_refused_and_left_alone(run: Interpret, subject: list[str]) -> None:
    Path("notes.db").write_bytes(b"my notes" * 100)
    ran = run("--features", "1", "--log", "notes.db", *subject)
    assert (ran.status, "notes.db" in ran.err) == (2, True)
    assert Path("notes.db").read_bytes() == b"my notes" * 100


def test_hostile_arguments_come_back_as_plain_text(run: Interpret, subject: list[str]) -> None:
    ran = run("--features", "\x1b[31m\u202e7", *subject)
    assert ran.status == 2
    assert "\x1b" not in ran.err
    assert "\\x1b[31m\\u202e7" in ran.err.replace("\\\\", "\\")


def test_failed_features_give_status_1(run: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cli.commands.run.make_explainer", lambda *_: FakeExplainer([None]))
    ran = run("--features", "0-2", *subject, *SMALL)
    assert ran.status == 1
    assert "(failed: not JSON)" in ran.out
    assert "3 failed" in ran.out


def test_ctrl_c_says_how_to_go_on_and_the_run_does(
    run: Interpret, subject: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.llm.offline import Offline

    class Interrupting(Offline):
        async def answer(self, request, form=None):
            if request.feature == 3:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.05)
            return await super().answer(request, form)

    with monkeypatch.context() as patch:
        patch.setattr("agent.cli.commands.run.make_explainer", lambda *_: Interrupting())
        ran = run("--features", "0-5", *subject, *SMALL, "--concurrency", "1")
    assert ran.status == 130
    assert "continues from there" in ran.err
    resumed = run("--features", "0-5", *subject, *SMALL)
    assert resumed.status == 0
    assert "resumed: 4 of 6 features were done before" in resumed.out  # what was in flight has ended


def test_help_tells_a_default_of_0_too(run: Interpret) -> None:
    help_text = run("run", "--help").out
    assert "drawn at random. [default: 0]" in " ".join(help_text.split())
    assert "[default: False]" not in help_text


@pytest.mark.parametrize("name", [None, *sorted(interpret.commands)])
def test_every_command_has_help(run: Interpret, name: str | None) -> None:
    ran = run(*([name] if name else []), "--help")
    assert ran.status == 0
    assert ran.out.startswith("Usage: interpret")


@pytest.mark.parametrize("arguments", [["--help"], ["log", "--help"], ["log"], ["show", "1"]], ids=" ".join)
def test_what_needs_no_subject_loads_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom agent.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(root)},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
