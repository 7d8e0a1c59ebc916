"""The explore page: a loaded subject probed live, with every setting under a control."""

from agent.web.explore.routes import routes

__all__ = ["routes"]
