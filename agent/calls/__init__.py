"""Calls to explainers and judges: logged before they are sent, within budgets, a moving number in flight."""
