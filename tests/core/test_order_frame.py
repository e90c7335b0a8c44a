"""The compiled frames against what the JSON library makes of the same request."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.order_frame import cancel_order_frame, new_order_frame
from nkfast.wire.codec import encode_request
from nkfast.wire.models import OrderRequest

texts = st.text(st.characters(exclude_categories=["Cs"]))
ids = st.integers(0, 2**63 - 1)
amounts = st.decimals("1e-15", "1e18", allow_nan=False, allow_infinity=False) | st.sampled_from(
    [Decimal("1E+3"), Decimal("2.33E-6"), Decimal("64000.50"), Decimal("0.0000000001")]
)


def frame_of(number, request):
    return new_order_frame(
        number,
        request.symbol,
        request.side,
        request.order_type,
        request.quantity,
        request.price,
        request.user_provided_id,
        request.strict_validate,
    )


@given(
    ids,
    st.sampled_from(["buy", "sell"]),
    amounts,
    st.none() | amounts,
    st.none() | texts,
    st.booleans(),
)
def test_an_order_is_what_the_json_library_writes(number, side, quantity, price, ours, strict):
    request = OrderRequest(
        symbol="BTC/USDT",
        side=side,
        quantity=quantity,
        price=price,
        order_type="market" if price is None else "limit",
        user_provided_id=ours,
        strict_validate=strict,
    )
    assert frame_of(number, request) == encode_request("newOrder", request.to_payload(), number)


@given(ids, texts)
def test_a_cancel_is_what_the_json_library_writes(number, name):
    assert cancel_order_frame(number, name, None) == encode_request(
        "cancelOrder", {"orderId": name}, number
    )
    assert cancel_order_frame(number, None, name) == encode_request(
        "cancelOrder", {"userProvidedId": name}, number
    )


@pytest.mark.parametrize("name", ["\0" * 5_000, "\x1f", '"\\\b\f\n\r\t\x7f', "é€𐍈" * 1_000, ""])
def test_texts_that_grow_fit(name):
    assert cancel_order_frame(1, name, None) == encode_request("cancelOrder", {"orderId": name}, 1)


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(ValueError, match="was -1"):
        cancel_order_frame(-1, "a", None)
    with pytest.raises(ValueError, match="order_id or user_provided_id"):
        cancel_order_frame(1, None, None)
    with pytest.raises(UnicodeEncodeError):
        cancel_order_frame(1, "\ud800", None)
    with pytest.raises(TypeError):
        cancel_order_frame(1, 7, None)
    for missing in ("symbol", "side", "order_type"):
        texts = {"symbol": "A/B", "side": "buy", "order_type": "limit"} | {missing: None}
        with pytest.raises(TypeError):
            new_order_frame(1, *texts.values(), Decimal(1), Decimal(1), None, True)
