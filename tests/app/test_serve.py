"""What the words of ``nkfast exchange serve`` become."""

from typing import Any

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.serve import read_variants
from nkfast.errors import ConfigError
from nkfast.exchange.server import ExchangeSettings


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
