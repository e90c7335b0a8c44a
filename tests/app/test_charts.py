"""Charts are drawn within their frame, with gaps where nothing is known."""

import re
from xml.etree import ElementTree

import pytest

from nkfast.app.charts import Line, Mark, Marks, chart


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def points(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]  # type: ignore[misc]
        for line in root.iter("polyline")
    ]


def test_a_curve_goes_from_edge_to_edge_and_up_is_more() -> None:
    root = drawn(chart("t", [0, 1000, 2000], [Line("a", "red", [1.0, 2.0, 4.0])]))
    ((first, second, third),) = points(root)
    assert first[0] == 0 < second[0] == 500 < third[0] == 1000
    assert first[1] > second[1] > third[1]
    assert all(0 < y < 300 for _, y in (first, second, third))


def test_a_gap_is_not_bridged() -> None:
    root = drawn(chart("t", [0, 1, 2, 3], [Line("a", "red", [1.0, None, 2.0, 3.0])]))
    assert [len(run) for run in points(root)] == [1, 2]


def test_marks_say_what_they_are_and_names_are_escaped() -> None:
    text = chart(
        "<b>",
        [0, 10],
        [Line("a&b", "red", [1.0, 1.0])],
        [Marks("bought", "green", [Mark(5, 1.0, "<i> & more")])],
    )
    root = drawn(text)
    assert [title.text for title in root.iter("title")] == ["<i> & more"]
    assert [span.text for span in root.iter("span")][:2] == ["▬ a&b", "● bought"]
    assert "<b>" not in text


def labels(root: ElementTree.Element, kind: str) -> list[str]:
    return [span.text or "" for span in root.iter("span") if span.get("class") == kind]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.0, 33.0], ["0", "10", "20", "30"]),
        ([-0.003, 0.001], ["-0.003", "-0.002", "-0.001", "0.000", "0.001"]),
        ([5_900.0, 6_200.0], ["5,900", "6,000", "6,100", "6,200"]),
        ([2.5e-8, 3.6e-8], ["0.000000025", "0.000000030", "0.000000035"]),
    ],
)
def test_it_is_ruled_at_round_values(values: list[float], wanted: list[str]) -> None:
    assert labels(drawn(chart("t", [0, 1], [Line("a", "red", values)])), "y") == wanted


def test_days_are_told_where_there_are_several() -> None:
    line = Line("a", "red", [1.0, 2.0])
    assert labels(drawn(chart("t", [0, 8_000], [line])), "x")[0] == "00:00:01"
    assert labels(drawn(chart("t", [0, 8 * 86_400_000], [line])), "x")[0] == "02 Jan 00:00"


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [1e-9, 1e12]])
def test_flat_and_steep_curves_stay_within_the_frame(values: list[float]) -> None:
    root = drawn(chart("t", [0, 1], [Line("a", "red", values)]))
    assert all(0 < y < 300 for run in points(root) for _, y in run)
    assert not re.search(r"nan|inf", ElementTree.tostring(root).decode())


def test_nothing_is_drawn_of_nothing() -> None:
    assert chart("t", [], []) == ""
    assert chart("t", [1, 2], [Line("a", "red", [None, None])]) == ""
