"""The tree of errors. Every message is one sentence for the user: what was wrong, which value, what to do.

    InterpretError
    ├── SettingsError      a setting out of range, unknown or contradictory
    ├── SubjectError       a model, tokenizer or SAE that cannot be had, read or fitted together
    ├── FeatureError       a feature index that the SAE does not have, or that cannot be parsed
    ├── OutputError        a file that a command is to write and may not, or cannot
    └── (agent/errors.py)  LogError, ExplainerError

Only the command line turns these into exit codes; nothing below it catches them to carry on.
"""


class InterpretError(Exception):
    """Root of everything this project raises on purpose; `str(error)` is one sentence for the user."""


class SettingsError(InterpretError):
    """A setting is out of range, unknown or contradicts another."""


class SubjectError(InterpretError):
    """The model, its tokenizer or its SAE cannot be had, cannot be read, or do not fit each other."""


class FeatureError(InterpretError):
    """A feature index is not a number, or the SAE has no such feature."""


class OutputError(InterpretError):
    """A file that a command cannot write, or that would replace one in use."""
