"""Both REST clients against a simulated exchange that does one thing wrong, over real sockets."""

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest

from nkfast import errors
from nkfast.client.throttle import Throttle
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.exchange.weather import Rule
from nkfast.wire.models import ApiCredentials, OrderRequest

SETTINGS = ExchangeSettings(speed=0.0)
KEY = ApiCredentials(SETTINGS.key, SETTINGS.secret)
ORDER = OrderRequest(
    symbol="BTC/USDT",
    side="buy",
    quantity=Decimal("0.5"),
    price=Decimal(100),
    user_provided_id="nk-1",
)
#: Fault: what it is to an order, what the error says of it, and whether there is an order.
FAULTS = {
    Rule("reset_before"): (errors.OutcomeUnknownError, "maybe", False),
    Rule("reset_after"): (errors.OutcomeUnknownError, "maybe", True),
    Rule("stall_before", seconds=9.0): (errors.OutcomeUnknownError, "maybe", False),
    Rule("stall_after", seconds=9.0): (errors.OutcomeUnknownError, "maybe", True),
    Rule("late", seconds=0.01): (errors.OutcomeUnknownError, "maybe", True),
    Rule("error_before", status=500): (errors.OutcomeUnknownError, "maybe", False),
    Rule("error_after", status=503): (errors.OutcomeUnknownError, "maybe", True),
    Rule("rate_limit"): (errors.RateLimitError, "yes", False),
    Rule("rate_limit", seconds=0.02): (errors.RateLimitError, "yes", False),
    Rule("html_before"): (errors.OutcomeUnknownError, "maybe", False),
    Rule("html_after"): (errors.OutcomeUnknownError, "maybe", True),
    Rule("empty"): (errors.OutcomeUnknownError, "maybe", True),
    Rule("truncated"): (errors.OutcomeUnknownError, "maybe", True),
    Rule("half"): (errors.OutcomeUnknownError, "maybe", True),
    Rule("nulls"): (errors.OutcomeUnknownError, "maybe", True),
}


def striking(rule, on):
    return ExchangeSettings(speed=0.0, weather=(replace(rule, on=on, times=1),))


def options():
    return {"throttle": Throttle({}), "timeout_seconds": 0.3}


def name(rule):
    return f"{rule.fault}-{rule.seconds or rule.status}"


@pytest.mark.parametrize("rule", FAULTS, ids=name)
async def test_an_order(client, rule):
    kind, sent, exists = FAULTS[rule]
    async with serve(striking(rule, "create")) as there:
        async with client(SimpleNamespace(url=there.rest_url), KEY, **options()) as rest:
            with pytest.raises(kind) as caught:
                await rest.create_order(ORDER)
            assert (type(caught.value), caught.value.sent) == (kind, sent)
            assert caught.value.endpoint == "/createorder"
            for _ in range(200):
                found = await rest.get_orders("BTC/USDT")
                if exists == bool(found):
                    break
            assert [order.user_provided_id for order in found] == ["nk-1"] * exists


@pytest.mark.parametrize("rule", FAULTS, ids=name)
async def test_a_cancel(client, rule):
    kind, sent, is_done = FAULTS[rule]
    async with serve(striking(rule, "cancel")) as there:
        async with client(SimpleNamespace(url=there.rest_url), KEY, **options()) as rest:
            await rest.create_order(ORDER)
            with pytest.raises(kind) as caught:
                await rest.cancel_order("nk-1")
            assert (type(caught.value), caught.value.sent) == (kind, sent)
            for _ in range(200):
                found = await rest.get_order("nk-1")
                if found.status.is_final == is_done:
                    break
            assert found.status.is_final == is_done


@pytest.mark.parametrize("rule", FAULTS, ids=name)
async def test_a_read_is_asked_again(client, rule):
    async with serve(striking(rule, "read")) as there:
        async with client(SimpleNamespace(url=there.rest_url), KEY, **options()) as rest:
            if rule.fault == "nulls":
                # An answer that is the venue's own and makes no sense will not get better.
                with pytest.raises(errors.WireError):
                    await rest.get_balances()
            assert {row.asset for row in await rest.get_balances()} >= {"BTC", "USDT"}
