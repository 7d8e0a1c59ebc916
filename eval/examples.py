"""Texts with activations; the values live in `probes.examples`."""

from probes.examples import Activity, Baseline, Collected, Example, ExampleKind, Split

__all__ = ["Activity", "Baseline", "Collected", "Example", "ExampleKind", "Split"]
