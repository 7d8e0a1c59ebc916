"""The branch of `eval` in the tree of errors rooted in `probes.errors`."""

from probes.errors import InterpretError


class ExamplesError(InterpretError):
    """Texts with activations cannot be had: a source is unknown, missing, empty, unreadable or of another subject."""


class ExportError(InterpretError):
    """A run cannot be written in the form, or to the place, that was asked for."""


class GraphError(InterpretError):
    """An attribution graph cannot be read, labelled or written."""
