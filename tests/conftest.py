"""What tests share: subjects that are loaded once and changed by none, and the command line."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import agent.run
from agent.log.run_log import RunLog
from probes.doors import cached_json
from probes.sae_formats import copies
from probes.subject import Subject
from tests.browser import launched
from tests.fakes import FakeProbes
from tests.fault_runs import Interpret, commands, environment
from tests.score_commands import tiny_options
from tests.subjects import FAMILIES, tiny_subject

SLOW = frozenset(
    [
        "answer_fuzz",
        "base_prompt_choice",
        "base_prompts",
        "batch_bounds",
        "batch_kills",
        "batches",
        "batches_cli",
        "bos",
        "browser_compare",
        "browser_explore",
        "browser_feature",
        "browser_labels",
        "browser_report",
        "calibrate_command",
        "chat_template",
        "cli",
        "collecting",
        "compare_cli",
        "compare_page",
        "compare_report",
        "contrast",
        "corpus_shards",
        "demo",
        "demo_world",
        "devices",
        "doctor",
        "door_fuzz",
        "escalation",
        "evidence_origin",
        "examples_cli",
        "explore",
        "export",
        "families",
        "feature_page",
        "fit",
        "fit_cli",
        "fuzz_model_folder",
        "fuzz_sae_folder",
        "gguf",
        "gpu",
        "graph",
        "graph_cli",
        "hosted_cli",
        "hosted_run",
        "identical",
        "import_cli",
        "import_log",
        "kill",
        "kill_commands",
        "layers_cli",
        "libraries",
        "loading",
        "log_command",
        "log_crash",
        "log_fuzz",
        "model_files",
        "negatives",
        "notebook",
        "option_pairs",
        "output_scorer",
        "paying_rounds",
        "planted_key",
        "planted_scores",
        "plots",
        "probe_only",
        "providers",
        "publish",
        "ray",
        "run",
        "run_verdict",
        "runlog",
        "sae_copies",
        "sae_input",
        "scorer_faults",
        "scorers",
        "scoring",
        "scoring_without_label",
        "secrets",
        "serve_command",
        "serve_guard",
        "serve_labels",
        "serve_pages",
        "shards",
        "sites",
        "smollm2",
        "start_up",
        "steering",
        "streams",
        "sweep",
        "tree",
        "vocabulary",
    ]
)
"""Files of the slow tier, without `test_`: browsers, killed processes, real models, all families, whole commands."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow tier, which `-m "not slow"` leaves out: what is left takes less than two minutes on two cores."""
    for item in items:
        if item.path.stem.removeprefix("test_") in SLOW:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns what commands print is as wide as in a file, whatever the tests themselves are run in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder in place of the user's cache, of whatever kind: in this process and in those that tests start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached_json, "cache_root", lambda: folder)
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@pytest.fixture(scope="session")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """A tiny random subject of a family, by the family's name."""

    @cache
    def load(family: str) -> Subject:
        return tiny_subject(tmp_path_factory.mktemp(family), family)

    return load


@pytest.fixture(scope="session")
def subject(subject_of: Callable[[str], Subject]) -> Subject:
    """A tiny random Gemma with its SAE; the SAE's last feature is dead."""
    return subject_of("gemma")


@pytest.fixture(params=FAMILIES)
def any_subject(request: pytest.FixtureRequest, subject_of: Callable[[str], Subject]) -> Subject:
    """A subject of every family in turn."""
    return subject_of(request.param)


@pytest.fixture
def sae_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's cache of SAEs."""
    monkeypatch.setattr(copies, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working folder, and no keys but the tests' own."""
    monkeypatch.chdir(tmp_path)
    with environment():
        yield


@pytest.fixture
def interpret(own_folder: None, capsys: pytest.CaptureFixture[str]) -> Interpret:  # noqa: ARG001, a folder to write in
    """The command line, in this process and a folder of its own."""
    return commands(capsys)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    """An empty log."""
    with RunLog.open(tmp_path / "log.db") as log:
        yield log


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> FakeProbes:
    """Probes that answer a run at once, in place of the subject's."""
    fake = FakeProbes()
    monkeypatch.setattr(agent.run, "run_probes", fake)
    return fake


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, where one is installed."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name a tiny random subject."""
    return tiny_options(tmp_path_factory.mktemp("subject"))
