"""The page of one feature, the trees that it draws, and its calls one by one."""

from agent.web.feature.routes import routes

__all__ = ["routes"]
