"""The parts of the run log; `agent.runlog.RunLog` is its only face."""
