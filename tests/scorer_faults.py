"""What a judge may do wrong and what must come of it, as data: each a scoring through a real SDK and a server."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.calls.asking import ASK_AGAIN
from agent.llm import make_explainer
from agent.log.calls import spent_by
from agent.log.run_log import RunLog
from agent.log.scores import ScoreRow, scores_of
from tests.fault_runs import environment
from tests.judging import answer
from tests.llm_script import Asked, Reply, Script
from tests.llm_server import LLMServer
from tests.planted_labels import TRUE, Told, plant, scoring

TRUE_LABELS = {feature: TRUE[feature] for feature in range(3)}
ASKING = ("detection", "fuzzing", "simulation", "discrimination", "clarity")
BATCHED = ("detection", "fuzzing", "discrimination")
_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Case:
    """Every true label gets either 1, for what was answered was right, or no score."""

    name: str
    script: Callable[[], Script]
    """Makes one, so that none remembers another scoring."""
    unscored: int = 0
    """Of the labels, by every scorer that is not named in `but`."""
    reason: str = ""
    """In the reason of each of them."""
    but: Mapping[str, int] | None = None
    partly: bool = False
    """Whether labels are scored on some of their texts only, where texts are asked about several at a time."""
    stops: str = ""
    """In the sentence that ends the scoring."""
    timeout_s: float = 20.0

    def unscored_by(self, scorer: str) -> int:
        return (self.but or {}).get(scorer, self.unscored)


@dataclass(frozen=True)
class Worked:
    """The outcome of a case."""

    scores: Sequence[ScoreRow]
    n_asked: int
    """Requests that the server saw."""
    n_calls: int
    """Rows of calls."""
    stopped: str
    """The sentence that ended it."""


def work(case: Case, path: Path, names: Sequence[str] = ASKING, provider: str = "openai") -> Worked:
    """Scores planted, true labels with the provider's SDK against a server that does what the case says."""
    script, asked = case.script(), list[Asked]()

    def desk(one: Asked) -> Reply:
        asked.append(one)
        return script(one)

    with environment(), LLMServer(desk) as server, RunLog.open(path) as log:
        planted = plant(log, TRUE_LABELS)
        explainer = make_explainer(f"{provider}:model-a", server.base_url(provider), timeout_s=case.timeout_s)
        made = scoring(planted, explainer, names, concepts={}, texts=6)

        async def measured() -> None:
            try:
                await made.score(planted.rows, 4, Told())
            finally:
                await explainer.close()

        asyncio.run(measured())
        stopped = str(made.admission.reason or "")
        scores = log.read(scores_of, made.scoring_id)
        return Worked(scores, len(asked), log.read(spent_by, planted.run_id, made.scoring_id).calls, stopped)


def by_rule(asked: Asked) -> Reply:
    """Returns what a server answers that knows the rules."""
    return Reply(json.dumps(answer(asked.user)))


def always(reply: Reply) -> Callable[[], Script]:
    return lambda: lambda _: reply


def twisted(twist: Callable[[dict[str, Any], str], Any]) -> Callable[[], Script]:
    """The right answer, made into another one; `twist` sees the question too."""
    return lambda: lambda asked: Reply(json.dumps(twist(answer(asked.user), asked.user)))


def when(condition: Callable[[str], bool], reply: Reply) -> Callable[[], Script]:
    """That reply to the questions that meet the condition, right answers to all others."""
    return lambda: lambda asked: reply if condition(asked.user) else by_rule(asked)


def _first_time(reply: Reply) -> Script:
    """That reply to every question that is asked for the first time."""
    seen: set[str] = set()

    def script(asked: Asked) -> Reply:
        new = asked.user not in seen
        seen.add(asked.user)
        return reply if new else by_rule(asked)

    return script


def _told(prompt: str) -> bool:
    """Tells whether the question says that its last answer could not be used."""
    return ASK_AGAIN[:20].strip() in prompt


def _about_dogs(prompt: str) -> bool:
    return 'Label: "dog"' in prompt


def _lists(right: dict[str, Any], change: Callable[[list[Any]], list[Any]]) -> dict[str, Any]:
    return {name: change(value) if isinstance(value, list) else value for name, value in right.items()}


def _short(right: dict[str, Any], _prompt: str) -> dict[str, Any]:
    return _lists(right, lambda values: values[:-1])


def _short_once(right: dict[str, Any], prompt: str) -> dict[str, Any]:
    """One too few unless it was told so, or is asked for the rest."""
    again = "You answered this before" in prompt or len(right.get("answers", "....")) == 1
    return right if again else _short(right, prompt)


def _from_zero(right: dict[str, Any], _prompt: str) -> dict[str, Any]:
    if "answers" not in right:
        return right
    return {"answers": [{**one, "number": one["number"] - 1} for one in right["answers"]]}


def _nothing(right: dict[str, Any], _prompt: str) -> dict[str, Any]:
    return _lists(right, lambda _: [])


_REFUSED = Reply(stop="refusal", refusal="I would rather not.")

CASES = (
    Case("answers by the rule", lambda: by_rule),
    Case("prose, never JSON", always(Reply("It seems to fit the second one.")), 3, "not JSON"),
    Case(
        "prose until told",
        lambda: lambda asked: by_rule(asked) if _told(asked.user) else Reply("It seems to fit."),
    ),
    Case("half an object", always(Reply('{"answers": [{"number": 1, "fi')), 3, "not JSON"),
    Case("an answer to something else", always(Reply('{"verdict": "good"}')), 3, "Field required"),
    Case("one too few, whole when asked again", twisted(_short_once)),
    Case(
        "one too few, always",
        twisted(_short),
        but={"simulation": 3},
        reason="numbers for 12 tokens",
        partly=True,
    ),
    Case(
        "numbers from 0",
        twisted(_from_zero),
        3,
        "the answer speaks of number 0",
        but={"simulation": 0, "clarity": 0},
    ),
    Case("nothing in it", twisted(_nothing), 3),
    Case("refuses everything", always(_REFUSED), 3, "I would rather not."),
    Case("refuses one label", when(_about_dogs, _REFUSED), 1, "I would rather not."),
    Case("500 at first", lambda: _first_time(Reply("oops", 500))),
    Case("500 for one label", when(_about_dogs, Reply("oops", 500)), 1, "HTTP 500: oops"),
    Case(
        "too slow for one label's texts",
        when(lambda prompt: _about_dogs(prompt) and prompt.startswith("# Detection"), Reply(delay_s=30.0)),
        reason=f"no answer within {2 * _TIMEOUT_S:g} s",  # it is waited for once more, twice as long
        but={"detection": 1},
        timeout_s=_TIMEOUT_S,
    ),
    Case("a key refused", always(Reply("no such key", 401)), stops="HTTP 401: no such key"),
)
