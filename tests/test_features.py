"""Features as they are written on a command line."""

from pathlib import Path

import pytest

from probes.errors import FeatureError
from probes.features import parse_features


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("7", [7]),
        ("0-3", [0, 1, 2, 3]),
        ("5-5", [5]),
        ("1,5,9-12", [1, 5, 9, 10, 11, 12]),
        (" 3 , 1,3", [3, 1]),
        ("all", list(range(50))),
        ("49", [49]),
    ],
)
def test_lists_and_ranges(text: str, features: list[int]) -> None:
    assert parse_features(text, 50) == features


def test_random_features_are_drawn_once_each_by_seed() -> None:
    drawn = parse_features("random:20", 50, seed=1)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 20
    assert set(drawn) <= set(range(50))
    assert drawn == parse_features("random:20", 50, seed=1)
    assert drawn != parse_features("random:20", 50, seed=2)


def test_a_file_holds_anything_but_another_file(tmp_path: Path) -> None:
    file = tmp_path / "features.txt"
    file.write_text("# chosen by hand\n3\n\n7-9, 3  # again\n")
    assert parse_features(f"@{file}", 50) == [3, 7, 8, 9]
    assert parse_features(f"0,@{file}", 50) == [0, 3, 7, 8, 9]
    file.write_text(f"@{file}\n")
    with pytest.raises(FeatureError, match="names another file"):
        parse_features(f"@{file}", 50)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("50", "Feature 50 is out of range; this SAE has features 0 to 49"),
        ("0-50", "Feature 50 is out of range"),
        ("0-99999999999", "Feature 99999999999 is out of range"),
        ("5-2", "backwards; write 2-5"),
        ("-1", "'-1' is not a feature"),
        ("seven", "'seven' is not a feature"),
        ("1.5", "'1.5' is not a feature"),
        ("²", "'²' is not a feature"),
        ("", "names no feature"),
        (" , ", "names no feature"),
        ("random:0", "names no feature"),
        ("random:51", "more features than the 50"),
        ("random:x", "not a feature"),
        ("@no/such/file", "no/such/file cannot be read"),
    ],
)
def test_what_is_no_feature_is_said(text: str, says: str) -> None:
    with pytest.raises(FeatureError, match=says) as caught:
        parse_features(text, 50)
    assert "\n" not in str(caught.value)
