"""What the words of ``nkfast exchange serve`` become."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.serve import load_accounts, load_weather, read_variants
from nkfast.errors import ConfigError
from nkfast.exchange.server import AccountSettings, ExchangeSettings
from nkfast.exchange.weather import PRESETS, Rule, Weather


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("book_time=iso", "iso"),
        ("private_shape=docs", "docs"),
        ("unknown_method_code=404", 404),
        ("unauthorized_code=1001", 1001),
        ("nonce_policy=increasing", "increasing"),
        ("nonce_window_ms=none", None),
        ("nonce_window_ms=5000", 5000),
        ("public_origins=https://a.example,https://b.example", ("https://a.example", "https://b.example")),
        ("cancel_all_needs_side=false", False),
        ("cancel_returns_order=true", True),
        ("filters_trades=true", True),
        ("shows_assets=true", True),
        ("self_trade=cancel_newest", "cancel_newest"),
        ("uniqueness=active", "active"),
        ("market_buys_in=quote", "quote"),
        ("fee_decimals=8", 8),
        ("connections_max=2", 2),
        ("subscriptions_max=none", None),
    ],
)  # fmt: skip
def test_variant_becomes_a_setting(text: str, value: Any) -> None:
    name = text.partition("=")[0]
    variants = read_variants([text])
    assert variants == {name: value} and type(variants[name]) is type(value)
    assert getattr(ExchangeSettings(**variants), name) == value


def test_last_word_counts() -> None:
    assert read_variants(["book_time=iso", "fee_decimals=8", "book_time=ms"]) == {
        "book_time": "ms",
        "fee_decimals": 8,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("book_time", "'book_time' is not NAME=VALUE of book_time, private_shape"),
        ("secret=x", "'secret=x' is not NAME=VALUE of book_time"),
        ("book_time=s", "book_time must be ms or iso, was 's'"),
        ("shows_assets=yes", "shows_assets must be true or false, was 'yes'"),
        ("unknown_method_code=-1", "unknown_method_code must be a whole number, was '-1'"),
        ("fee_decimals=", "fee_decimals must be none or a whole number, was ''"),
    ],
)
def test_variant_that_is_none_says_what_would_be(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match="--set") as caught:
        read_variants([text])
    assert words in str(caught.value)
    result = CliRunner().invoke(main, ["exchange", "serve", "--set", text])
    assert (result.exit_code, result.stdout) == (ExitCode.CONFIG, "")
    assert words in result.stderr


def test_weather_of_a_file_is_a_script(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text('[{"fault": "error_after", "on": "create", "after": 2, "times": 1}]')
    weather = Weather(load_weather(str(path)))
    seen = [weather.request("createorder").fault for _ in range(4)]
    assert seen == [None, None, "error_after", None]


def test_weather_with_a_name_survives_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([rule.as_json() for rule in PRESETS["storm"]]))
    assert load_weather(str(path)) == load_weather("storm") == PRESETS["storm"]
    path.write_text("[]")
    assert load_weather(str(path)) == load_weather("clear") == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there are clear, drizzle, rain, storm, fog"),
        ("[", "cannot read rules"),
        ("{}", "expected a JSON array of rules"),
        ('[{"fault": "late"}, {"fault": "hail"}]', "rule 2: "),
        ('[{"fault": "late", "times": 1.5}]', "rule 1: "),
    ],
)
def test_weather_that_is_none_says_what_would_be(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "rules.json"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(main, ["exchange", "serve", "--weather", str(path)])
    assert (result.exit_code, result.stdout) == (ExitCode.CONFIG, "")
    assert words in result.stderr


def test_rule_reads_like_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text('[{"fault": "late", "on": "create", "seconds": 1, "probability": 0.5}]')
    assert load_weather(str(path)) == (Rule("late", on="create", seconds=1, probability=0.5),)


@pytest.mark.parametrize("words", [["--secret", ""], ["--key", ""], ["--secret-stdin"]])
def test_empty_credentials_are_refused(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["exchange", "serve", *words], input="")
    assert (result.exit_code, result.stdout) == (ExitCode.CONFIG, "")
    assert "an account needs a key and a secret" in result.stderr


def test_balances_of_a_file_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(
        '[{"key": "a", "secret": "b", "balances": {"BTC": 0.1234567890123456789, "USDT": "5"}},'
        ' {"key": "c", "secret": "d"}]'
    )
    assert load_accounts(path) == (
        AccountSettings("a", "b", {"BTC": "0.1234567890123456789", "USDT": "5"}),
        AccountSettings("c", "d", None),
    )


@pytest.mark.parametrize(
    "content",
    ["{}", "[1]", '[{"key": "a"}]', '[{"key": "a", "secret": "b", "balances": [1]}]', "["],
)
def test_accounts_that_are_none_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="expected an array of objects with key"):
        load_accounts(path)
