"""Three formats, one meaning; every key with its place."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.app.config.documents import read_document
from nkfast.errors import ConfigError

TOML = """\
# a comment
symbol = "BTC/USDT"
a."b c".d = [1, 2.50, "x]y", {k = 1e4}]

[risk]
max = 1_000
on = true
[risk.position]
BTC = 0.10
"""
YAML = """\
symbol: BTC/USDT
a:
  b c:
    d: [1, 2.50, "x]y", {k: 1e4}]
risk:
  max: 1_000
  on: true
  position: {BTC: 0.10}
"""
JSON = """\
{"symbol": "BTC/USDT",
 "a": {"b c": {"d": [1, 2.50, "x]y", {"k": 1e4}]}},
\t"risk": {"max": 1000, "on": true, "position": {"BTC": 0.10}}}
"""


def read(folder: Path, name: str, text: str) -> tuple[dict[str, object], dict[object, str]]:
    path = folder / name
    path.write_text(text)
    document = read_document(path)
    return document.values, {
        key: place.removeprefix(f"{path}:") for key, place in document.places.items()
    }


def test_formats_mean_the_same(tmp_path: Path) -> None:
    values, places = read(tmp_path, "bot.toml", TOML)
    assert values["risk"] == {"max": 1000, "on": True, "position": {"BTC": Decimal("0.10")}}
    assert str(values["a"]["b c"]["d"][1]) == "2.50"  # type: ignore[index]
    for name, text in (("bot.yaml", YAML), ("bot.yml", YAML), ("bot.json", JSON)):
        other_values, other_places = read(tmp_path, name, text)
        assert repr(other_values) == repr(values)
        assert other_places.keys() == places.keys()


def test_every_key_has_its_line_and_column(tmp_path: Path) -> None:
    _, places = read(tmp_path, "bot.toml", TOML + "[[list]]\nx = 1\n[[list]]\n  y = [[1], [2]]\n")
    assert places["symbol",] == "2:1"
    assert places["a", "b c", "d", 3, "k"] == "3:31"
    assert places["risk", "position", "BTC"] == "9:1"
    assert places["list", 1, "y", 1, 0] == "13:14"
    _, places = read(tmp_path, "bot.yaml", YAML)
    assert places["risk", "position", "BTC"] == "8:14"
    _, places = read(tmp_path, "bot.json", JSON)
    assert places["risk",] == "3:2"


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    values, _ = read(tmp_path, "bot.yaml", "a: no\nb: 1e4\nc: .5\nd: 0o10\ne: ~\nf: 2020-01-01\n")
    assert values == {
        "a": "no",
        "b": Decimal("1e4"),
        "c": Decimal("0.5"),
        "d": 8,
        "e": None,
        "f": "2020-01-01",
    }


@pytest.mark.parametrize(
    ("name", "text", "place", "message"),
    [
        ("a.toml", "a = 1\nb = = 2\n", ":2:5", "not TOML: Invalid value"),
        ("a.toml", "a = [1,\n", ":2", "not TOML: "),
        ("a.json", '{"a": 1,\n "b" 2}', ":2:6", "not JSON: Expecting ':' delimiter"),
        ("a.json", '{"a": NaN}', "", "not JSON: NaN is no number"),
        ("a.json", '{"a": 1,\n "a": 2}', ":2:2", "'a' stands here a second time"),
        ("a.json", "[1]", ":1:1", "has no keys at its top level"),
        ("a.yaml", "a: 1\nb: [1\n", ":3:1", "not YAML: "),
        ("a.yaml", "a: 1\na: 2\n", ":2:1", "'a' stands here a second time"),
        ("a.yaml", "- 1\n", ":1:1", "has no keys at its top level"),
        ("a.yaml", "a: !!binary aGk=\n", ":1:4", "nkfast has no values of type 'binary'"),
        ("a.yaml", "a: &x [*x]\n", ":1:4", "holds itself"),
        ("a.ini", "", "", "ends in none of .toml, .yaml, .yml, .json"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, place: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_document(path)
    assert raised.value.place == f"{path}{place}"
    assert raised.value.message.startswith(message)


def test_deep_nesting_is_an_error(tmp_path: Path) -> None:
    for name in ("a.json", "a.yaml"):
        path = tmp_path / name
        path.write_text('{"a":' * 5000 + "1" + "}" * 5000)
        with pytest.raises(ConfigError, match="nested too deeply"):
            read_document(path)


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.text("abc-_9", min_size=1),
        st.recursive(
            st.integers(-(10**20), 10**20) | st.booleans() | st.text(' "#[]{},=\\ab', max_size=9),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
        max_size=5,
    )
)
def test_places_are_found_in_everything_that_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("d")
    toml = "".join(f"{key} = {json.dumps(value)} # [x\n" for key, value in values.items())
    read_values, places = read(folder, "a.toml", toml)
    assert read_values == values
    assert [places[key,] for key in values] == [f"{n}:1" for n in range(1, len(values) + 1)]
