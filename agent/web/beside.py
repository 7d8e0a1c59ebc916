"""Two features side by side: `/compare/features?run=3&one=121&other=5077`, features of other layers as 8:121."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.errors import LogError
from agent.groups import group_of, layer_of
from agent.log.evidence import evidence_rounds
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from agent.web.asked import is_blind
from agent.web.feature.view import FeaturePage, feature_view
from agent.web.pages import page
from agent.web.side_by_side import SideText, shared_tokens, side_text
from agent.web.site import site_of
from probes.errors import FeatureError
from probes.features import parse_address


@dataclass(frozen=True)
class FeatureSide:
    """One of the two."""

    address: str
    view: FeaturePage
    text: SideText

    @property
    def url(self) -> str:
        """Returns the address of the feature's page."""
        return f"/runs/{self.view.run.run_id}/features/{self.view.feature}"


def show(request: Request) -> Response:
    """Shows both, and the tokens that the first token lists of both have."""
    log, given = site_of(request).log, request.query_params
    number = given.get("run", "")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise HTTPException(404, "Two features are shown of a run: /compare/features?run=1&one=121&other=5077.")
    run, runs = log.read(chosen_run, int(number)), log.read(all_runs)
    sides = [_side(log, run, runs, given.get(name, "")) for name in ("one", "other")]
    both = shared_tokens(sides[0].text, sides[1].text)
    return page(request, "beside.html.j2", run=run, here="labels", sides=sides, both=both, hidden=is_blind(request))


def _side(log: RunLog, run: RunSummary, runs: Sequence[RunSummary], address: str) -> FeatureSide:
    group = group_of(run, runs)
    try:
        layer, feature = parse_address(address)
        mine = run if layer is None or layer == layer_of(run) else group.of_layer(layer)
    except (FeatureError, LogError) as error:
        raise HTTPException(404, str(error)) from None
    view = feature_view(log, mine, feature, ())
    if view is None:
        raise HTTPException(
            404,
            f"Run {mine.run_id} has nothing on feature {group.address(mine.run_id, feature)}; it was asked for "
            f"{mine.features}.",
        )
    evidence = [item for some in log.read(evidence_rounds, mine.run_id, feature).values() for item in some]
    return FeatureSide(group.address(mine.run_id, feature), view, side_text(mine, view.row, evidence))


routes = [Route("/compare/features", show, name="beside")]
