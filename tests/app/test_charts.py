"""Charts are drawn within their frame, with gaps where nothing is known."""

import re
from xml.etree import ElementTree

import pytest

from nkfast.app.charts import Line, Mark, chart


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.replace("&#9644;", ""))


def points(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]  # type: ignore[misc]
        for line in root.iter("polyline")
    ]


def test_a_curve_goes_from_edge_to_edge_and_up_is_more() -> None:
    root = drawn(chart("t", [0, 1000, 2000], [Line("a", "red", [1.0, 2.0, 4.0])]))
    ((first, second, third),) = points(root)
    assert first[0] == 90 < second[0] < third[0] == 948
    assert first[1] > second[1] > third[1]
    assert all(0 < y < 260 for _, y in (first, second, third))


def test_a_gap_is_not_bridged() -> None:
    root = drawn(chart("t", [0, 1, 2, 3], [Line("a", "red", [1.0, None, 2.0, 3.0])]))
    assert [len(run) for run in points(root)] == [1, 2]


def test_marks_say_what_they_are_and_names_are_escaped() -> None:
    text = chart(
        "<b>", [0, 10], [Line("a&b", "red", [1.0, 1.0])], [Mark(5, 1.0, "green", "<i> & more")]
    )
    root = drawn(text)
    assert [title.text for title in root.iter("title")] == ["<i> & more"]
    assert "<b>" not in text


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [1e-9, 1e12]])
def test_flat_and_steep_curves_stay_within_the_frame(values: list[float]) -> None:
    root = drawn(chart("t", [0, 1], [Line("a", "red", values)]))
    assert all(0 < y < 260 for run in points(root) for _, y in run)
    assert not re.search(r"nan|inf", ElementTree.tostring(root).decode())


def test_nothing_is_drawn_of_nothing() -> None:
    assert chart("t", [], []) == ""
    assert chart("t", [1, 2], [Line("a", "red", [None, None])]) == ""
