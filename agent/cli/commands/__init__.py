"""The commands, one module each; `agent.cli.interpret` gives their names and options."""
