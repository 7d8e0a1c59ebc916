"""What the run log is made of; `agent.runlog.RunLog` is its only face."""
