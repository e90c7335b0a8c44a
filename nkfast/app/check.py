"""``nkfast check`` and ``nkfast plan``: what is wrong before it costs something."""

import json
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import Any

import click

from nkfast.app.config.bot import BotConfig
from nkfast.app.credentials import find_credentials, require_credentials
from nkfast.app.exits import ExitCode, describe
from nkfast.app.findings import Finding, as_json, exit_code, print_findings
from nkfast.app.key_permissions import examine_key
from nkfast.app.loop import run
from nkfast.app.outlook import Outlook, look_ahead
from nkfast.app.protocol_matrix import Answered, probe_protocol
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import ConfigError, NkfastError
from nkfast.strategies.round_trip import grid_profit
from nkfast.strategies.settings import keys
from nkfast.strategies.spacing import SpacedSettings
from nkfast.trading.exact import ZERO, add, multiply, plain
from nkfast.venue.clock import RealClock

__all__ = ["check", "print_plan"]

#: Beyond it the exchange refuses to log a client in.
_SKEW_MAX_S = 30.0
#: For a share that a person reads.
_SHOWN = Context(prec=12)
_CENT = Decimal("0.01")


def check(config: BotConfig, *, is_offline: bool, has_matrix: bool, prints_json: bool) -> ExitCode:
    """Say what is right and what is not, and the token that arms these very settings.

    Returns
    -------
    ExitCode
        That of the first thing that failed.
    """
    findings = [_configuration(config), _limits(config)]
    answers: list[Answered] = []
    if not is_offline:
        findings += run(_online(config))
        if has_matrix:
            key = require_credentials()
            answers = run(probe_protocol(config.exchange, key))
    code = exit_code(findings)
    if prints_json:
        known = {"ok": not code, "token": config.token, "hash": config.hash}
        rows = {"findings": as_json(findings), "matrix": [row._asdict() for row in answers]}
        click.echo(json.dumps(known | rows))
        return code
    print_findings(findings)
    for row in answers:
        click.echo(f"{row.question:<4} {row.tried:<52} {row.answer}")
    if not code:
        click.echo(f"token {config.token}  (nkfast run --live --token; of these settings only)")
        if config.path is not None and config.common.mode != "live":
            click.echo(f"next:  nkfast plan {config.path}, then nkfast paper {config.path}")
    return code


def _configuration(config: BotConfig) -> Finding:
    given = len(config.entries)
    text = f"{config.strategy_name}, mode {config.common.mode}: {given} keys given, 0 unknown"
    return Finding("ok", "configuration", text)


def _limits(config: BotConfig) -> Finding:
    try:
        config.risk.limits().require_live()
    except ConfigError as error:
        is_live = config.common.mode == "live"
        fix = "set them in [risk]"
        verdict = "fail" if is_live else "warn"
        return Finding(verdict, "limits", error.message, fix, ExitCode.CONFIG)
    return Finding("ok", "limits", "all that live trading needs are set")


async def _online(config: BotConfig) -> list[Finding]:
    findings = []
    async with AsyncRestClient(base_url=config.exchange.rest_url) as rest:
        try:
            findings.append(await _clock(rest))
        except NkfastError as error:
            failure = describe(error)
            fix = "nkfast doctor looks at the road"
            return [Finding("fail", "exchange", failure.message, fix, failure.code)]
    try:
        found = find_credentials()
        if found.credentials is None:
            is_live = config.common.mode == "live"
            verdict = "fail" if is_live else "ok"
            text = "none; only live trading needs one"
            fix = "nkfast keys set stores one" if is_live else ""
            findings.append(Finding(verdict, "API key", text, fix, ExitCode.AUTH))
        else:
            findings.append(Finding("ok", "API key", f"found in {found.source}"))
            findings += await examine_key(config.exchange.rest_url, found.credentials)
        outlook = await look_ahead(config)
    except NkfastError as error:
        failure = describe(error)
        findings.append(Finding("fail", "exchange", failure.message, "", failure.code))
        return findings
    return [*findings, *_of_outlook(config, outlook)]


async def _clock(rest: AsyncRestClient) -> Finding:
    clock = RealClock()
    before = clock.time_ns()
    venue_ms = (await rest.get_time()).time_ms
    skew_ms = (before + clock.time_ns()) / 2e6 - venue_ms
    text = f"{skew_ms:+.0f} ms from the exchange's"
    if abs(skew_ms) > _SKEW_MAX_S * 1000:
        return Finding("fail", "clock", text, "let the system set its clock", ExitCode.AUTH)
    return Finding("ok", "clock", text)


def _of_outlook(config: BotConfig, outlook: Outlook) -> Iterator[Finding]:
    market = outlook.market
    yield Finding(
        "ok",
        "market",
        f"{market.symbol} tick {plain(market.tick_size)} lot {plain(market.lot_size)} fees maker"
        f" {plain(market.maker_fee)} taker {plain(market.taker_fee)}, mid"
        f" {'none' if outlook.mid is None else plain(outlook.mid)}, {len(outlook.symbols)} markets",
    )
    if outlook.owns:
        owned = ", ".join(f"{plain(amount)} {asset}" for asset, amount in outlook.owns.items())
        lacks = ", ".join(f"{plain(amount)} {asset}" for asset, amount in outlook.missing.items())
        verdict, text = ("warn", f"lacks {lacks}; ") if lacks else ("ok", "")
        yield Finding(verdict, "balances", f"{text}has {owned}")
    needs = ", ".join(f"{plain(amount)} {asset}" for asset, amount in outlook.needs.items())
    text = f"{len(outlook.orders)} orders need {needs or 'nothing'}"
    yield Finding("ok", "plan", "takes legs at once" if outlook.is_plan else text)
    yield from _of_round_trip(config, outlook)
    yield from _of_limits(config, outlook)
    yield from _of_budgets(config, outlook)
    for skip in outlook.skips[:5]:
        yield Finding("warn", "not done", f"{skip.code}: {skip.detail}")


def _of_round_trip(config: BotConfig, outlook: Outlook) -> Iterator[Finding]:
    """Say what the nearest buy and the sale that answers it earn, both fees paid."""
    market, home = outlook.market, outlook.market.symbol
    own = [order for order in outlook.orders if order.symbol == home and order.price is not None]
    buys = {order.price: order for order in own if order.side == "buy"}
    sells = [order.price for order in own if order.side == "sell"]
    if not buys:
        return
    low = max(price for price in buys if price is not None)
    if isinstance(config.strategy, SpacedSettings):
        high = market.round_price(config.strategy.spacing.away(low, 1), "floor")
    elif sells:
        high = min(price for price in sells if price is not None)
    else:
        return
    quantity = buys[low].quantity
    rate = market.maker_fee
    profit = grid_profit(low, high, quantity, rate)
    share = _SHOWN.divide(profit, multiply(low, quantity)) * 100
    text = (
        f"{plain(quantity)} bought at {plain(low)}, sold at {plain(high)}: {plain(profit)}"
        f" {market.quote} ({share:.2f} %) after two fees of {plain(rate)}"
    )
    if profit > 0:
        yield Finding("ok", "round trip", text)
    else:
        yield Finding("warn", "round trip", text, "set orders farther apart: it does not earn")


def _of_limits(config: BotConfig, outlook: Outlook) -> Iterator[Finding]:
    limits = config.risk.limits()
    largest = max((order.notional for order in outlook.orders), default=ZERO)
    if limits.max_order_notional is not None and largest > limits.max_order_notional:
        text = f"{plain(largest)} is above max_order_notional {plain(limits.max_order_notional)}"
        yield Finding("warn", "largest order", text)
    spent = bought = ZERO
    for order in outlook.orders:
        if order.side == "buy" and order.symbol == outlook.market.symbol:
            spent, bought = add(spent, order.notional), add(bought, order.quantity)
    base, most = outlook.market.base, limits.max_position
    limit = most.get(base) if isinstance(most, Mapping) else most
    whole = add(outlook.owns.get(base, ZERO), bought)
    if limit is not None and bought and whole > limit:
        text = f"{plain(whole)} {base} owned and bought is above max_position {plain(limit)}"
        yield Finding("warn", "position", text, "raise it in [risk], or buys are refused")
    if spent:
        text = f"if the price falls to 0: -{plain(spent)} {outlook.market.quote} of the buys"
        yield Finding("ok", "worst case", text)


def _of_budgets(config: BotConfig, outlook: Outlook) -> Iterator[Finding]:
    """Say in USDT what is set in a quote asset whose amounts tell a person little: 10 BTC a day."""
    quote, worth = outlook.market.quote, outlook.quote_worth
    if worth is None or quote == "USDT":
        return
    amounts = []
    for section in (config.strategy, config.risk):
        for key in keys(type(section)):
            value: Any = section
            for name in key.name.split("."):
                value = getattr(value, name, None)
            if key.unit == "quote" and isinstance(value, Decimal) and value > 0:
                told = _SHOWN.multiply(value, worth).quantize(_CENT)
                amounts.append(f"{key.name} {plain(value)} {quote} is {told:,f} USDT")
    if amounts:
        yield Finding("ok", "amounts", "; ".join(amounts))


def print_plan(config: BotConfig, *, as_json: bool) -> ExitCode:
    """Print every order that a start would place, and what they need; nothing is sent."""
    outlook = run(look_ahead(config))
    if as_json:
        click.echo(json.dumps(_plan_as_json(config, outlook)))
        return ExitCode.OK
    mid = "no mid" if outlook.mid is None else f"mid {plain(outlook.mid)}"
    mode, name = config.common.mode.upper(), config.strategy_name
    click.echo(f"{mode} {name} on {outlook.market.symbol}, {mid}")
    if outlook.is_plan:
        click.echo("it would take legs at once; nothing rests")
    elif not outlook.orders:
        click.echo("nothing would be placed now")
    for order in sorted(outlook.orders, key=lambda order: order.price or ZERO, reverse=True):
        price = "the market" if order.price is None else plain(order.price)
        quote = order.symbol.split("/")[1]
        click.echo(
            f"{order.side:<4} {plain(order.quantity):>14} {order.symbol} at {price:>12}"
            f"  {plain(order.notional):>14} {quote}  {order.slot}"
        )
    for skip in outlook.skips:
        click.echo(f"not  {skip.code}: {skip.detail}")
    for asset, amount in outlook.needs.items():
        has = f", has {plain(outlook.owns.get(asset, ZERO))}" if outlook.owns else ""
        lacks = f", LACKS {plain(outlook.missing[asset])}" if asset in outlook.missing else ""
        click.echo(f"needs {plain(amount)} {asset}{has}{lacks}")
    return ExitCode.OK


def _plan_as_json(config: BotConfig, outlook: Outlook) -> dict[str, Any]:
    def amounts(by_asset: Any) -> dict[str, str]:
        return {asset: plain(amount) for asset, amount in by_asset.items()}

    return {
        "mode": config.common.mode,
        "strategy": config.strategy_name,
        "symbol": outlook.market.symbol,
        "mid": None if outlook.mid is None else plain(outlook.mid),
        "orders": [
            {
                name: plain(value) if isinstance(value, Decimal) else value
                for name, value in (
                    ("slot", order.slot),
                    ("symbol", order.symbol),
                    ("side", order.side),
                    ("price", order.price),
                    ("quantity", order.quantity),
                    ("notional", order.notional),
                )
            }
            for order in outlook.orders
        ],
        "skips": [{"code": skip.code, "detail": skip.detail} for skip in outlook.skips],
        "needs": amounts(outlook.needs),
        "owns": amounts(outlook.owns),
        "missing": amounts(outlook.missing),
    }
