"""Finds the runs that belong to a page's run, which say how features are addressed there."""

from agent.groups import RunGroup, group_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, newest_run
from agent.web.site import Site


def group_at(site: Site, run: RunSummary) -> RunGroup:
    """Returns the runs of the run's command; they change only where a run is added."""
    return site.cache.until(newest_run, _group, run.run_id)


def _group(log: RunLog, run_id: int) -> RunGroup:
    runs = log.read(all_runs)
    return group_of(next(run for run in runs if run.run_id == run_id), runs)
