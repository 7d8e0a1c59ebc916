"""The comparison page: settings against each other, feature by feature, and one feature under two of them."""

from agent.web.compare.routes import routes

__all__ = ["routes"]
