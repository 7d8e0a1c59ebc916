"""What a server tells of batches: how much of it is read, and what of it is kept, less the secrets held."""

import asyncio
import json
import tracemalloc
from pathlib import Path

import pytest

from agent.calls import following
from agent.llm import batching, make_explainer, wire
from agent.llm.base import AnswerForm, CallFault
from agent.llm.batching import BatchExplainer, BrokenResultsError, ProviderBatch, ResultLine, results_of
from agent.log.batches import BatchRow
from tests.batch_runs import FEATURES, quick, run_in_batches
from tests.batch_server import BatchFaults, BatchServer
from tests.fakes import in_loop
from tests.fault_cases import PROVIDERS
from tests.gzip_bomb import gzip_bomb
from tests.llm_script import Asked, Reply, labelling
from tests.logged import request

LABELLED = dict.fromkeys(FEATURES, "labelled")
SECRET = "a-key-for-the-loopback"

both = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def explainer_at(address: str, provider: str) -> BatchExplainer:
    explainer = make_explainer(f"{provider}:model-a", address, batch=True)
    assert isinstance(explainer, BatchExplainer)
    return explainer


@both
def test_results_are_read_whole_however_many_lines_they_have(
    provider: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wire, batching):
        monkeypatch.setattr(module, "MAX_BYTES", 1500)
    with BatchServer() as server:
        assert run_in_batches(server, provider, path).ends == LABELLED
        assert server.billed.total() == 9
        assert sum(len(json.dumps(line)) for line in server.batches[0].lines) > 1500


@both
def test_a_line_that_is_too_long_is_no_answer_and_the_others_are(
    provider: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(asked: Asked) -> Reply:
        return Reply("x" * 5000) if asked.feature == 2 and asked.before == 0 else labelling(asked)

    for module in (wire, batching):
        monkeypatch.setattr(module, "MAX_BYTES", 3000)
    with BatchServer(script=script) as server:
        ran = run_in_batches(server, provider, path)
    assert ran.ends == LABELLED
    assert [call.fault for call in ran.calls if call.feature == 2] == [CallFault.TRANSIENT, None]


@both
def test_nothing_that_is_told_of_batches_is_read_beyond_its_bound(provider: str, path: Path) -> None:
    async def all_of(server: BatchServer) -> None:
        explainer = explainer_at(server.base_url(provider), provider)
        asked = explainer.batching()
        one = asked.encoded("b-1", request(1), AnswerForm.TEXT)
        server.faults.bombs = frozenset({"read"})
        with pytest.raises(BrokenResultsError, match="longer than 24,000,000 bytes"):
            [line async for line in results_of(asked, ProviderBatch("batch_0", True, ("output-batch_0",)), 6)]
        server.faults.bombs = frozenset({"looked", "listed", "made"})
        for reply in await asked.look("batch_0"), await asked.page(None), await asked.create("b", [one]):
            assert reply.failure is not None
            assert "longer than 4,000,000 bytes" in reply.failure.sentence
            assert len(reply.text) <= wire.MAX_BYTES
        await explainer.close()

    gzip_bomb()  # made before memory is watched
    with BatchServer() as server, quick():
        run_in_batches(server, provider, path)
        tracemalloc.start()
        try:
            asyncio.run(all_of(server))
            assert tracemalloc.get_traced_memory()[1] < 100_000_000
        finally:
            tracemalloc.stop()


@both
def test_what_a_model_says_in_a_batch_keeps_its_words_less_the_secrets_held(provider: str, path: Path) -> None:
    label = json.dumps({"action": "label", "label": f"key=value of {SECRET}", "confidence": 0.5})

    def lot(asked: Asked) -> str:
        return "errored" if asked.feature == 1 and asked.before == 0 else "answered"

    with BatchServer(BatchFaults(lot=lot), lambda _: Reply(label)) as server:
        ran = run_in_batches(server, provider, path, wait=0)
        assert {call.fault for call in ran.calls} == {CallFault.WAITING}
        ran = run_in_batches(server, provider, path)  # whose answers are kept before they are understood
    assert {row.label for row in ran.labels} == {"key=value of ***"}
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())


@both
@in_loop
async def test_what_refuses_a_batch_is_told_without_the_secrets_of_its_address(provider: str) -> None:
    with BatchServer(BatchFaults(failing={0: 401}, words=" for me:open-sesame and sk-abcdefghijkl")) as server, quick():
        address = server.base_url(provider).replace("://", "://me:open-sesame@")
        explainer = explainer_at(address, provider)
        asked = explainer.batching()
        one = asked.encoded("b-1", request(1), AnswerForm.TEXT)
        for reply in await asked.create("b", [one]), await asked.look("b"):
            assert reply.failure is not None
            assert "***" in reply.failure.sentence
            assert "sesame" not in repr(reply)
            assert "abcdefghijkl" not in reply.failure.sentence
        await explainer.close()


@pytest.mark.parametrize("number", ["9" * 5000, "", "-1", "1x", "١"])
def test_a_line_of_no_call_of_ours_is_passed_over(number: str) -> None:
    row = BatchRow(1, 1, None, "token", "openai", None, "sent", 1, "2026-11-28T00:00:00", None, None, 0, None)
    assert following._place(ResultLine(f"token-{number}", 200, "{}"), row) is None
    assert following._place(ResultLine("other-7", 200, "{}"), row) is None
    assert following._place(ResultLine("token-7", 200, "{}"), row) == 7
