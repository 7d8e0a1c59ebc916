"""The local web pages of `interpret serve`: one module for each page, put together in `agent.web.server`."""
