"""Runs of one command over several SAEs, told from others by their settings, and the grade of a first round."""

from types import SimpleNamespace
from typing import Any

from agent.evidence.digest import digest
from agent.evidence.first_grade import NOT_COMPARED, grade_of
from agent.groups import group_of, groups_of
from tests.fakes import vocabulary_list


def run(run_id: int, layer: int, group: str | None = "g") -> Any:
    return SimpleNamespace(run_id=run_id, subject={"layer": layer}, settings={"group": group} if group else {})


def test_a_group_has_the_latest_run_of_each_layer_the_lowest_layer_first() -> None:
    runs = [run(1, 9), run(2, 3), run(3, 3, group="other"), run(4, 9), run(5, 5, group=None)]
    group = group_of(runs[1], runs)
    assert [one.run_id for one in group.runs] == [2, 4]
    assert [group.address(one.run_id, 7) for one in group.runs] == ["3:7", "9:7"]
    assert [one.run_id for one in group_of(runs[0], runs).runs] == [1]  # a later one has replaced it
    assert group_of(runs[4], runs).address(5, 7) == "7"
    assert [[one.run_id for one in found.runs] for found in groups_of(runs)] == [[1], [2, 4], [3], [5]]


def test_a_first_round_is_graded_by_its_clearest_evidence() -> None:
    pieces = digest([vocabulary_list(" dog", p_value=p) for p in (0.5, 0.01, None)], 2.0)
    assert grade_of(pieces) == "clear"
    assert grade_of(pieces[:1]) == "none"
    assert grade_of(pieces[2:]) == NOT_COMPARED
