"""``nkfast check`` and ``nkfast plan``: what is wrong before it costs something."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import click

from nkfast.app.config.bot import BotConfig
from nkfast.app.credentials import find_credentials
from nkfast.app.exits import ExitCode, describe
from nkfast.app.loop import run
from nkfast.app.outlook import Outlook, look_ahead
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import ConfigError, NkfastError
from nkfast.trading.exact import ZERO, add, plain
from nkfast.venue.clock import RealClock

__all__ = ["check", "print_plan"]

#: Beyond it the exchange refuses to log a client in.
_SKEW_MAX_S = 30.0


class _Finding(NamedTuple):
    """One thing that was looked at. ``verdict``: ok, warn or fail."""

    verdict: str
    subject: str
    detail: str
    code: ExitCode = ExitCode.OK


def check(config: BotConfig, *, is_offline: bool, as_json: bool) -> ExitCode:
    """Say what is right and what is not, and the token that arms these very settings.

    Returns
    -------
    ExitCode
        That of the first thing that failed.
    """
    findings = [_configuration(config), _limits(config)]
    if not is_offline:
        findings += run(_online(config))
    failed = next((row for row in findings if row.verdict == "fail"), None)
    code = ExitCode.OK if failed is None else failed.code
    if as_json:
        rows = [row._asdict() | {"code": row.code.name} for row in findings]
        known = {"ok": failed is None, "token": config.token, "hash": config.hash}
        click.echo(json.dumps(known | {"findings": rows}))
        return code
    for row in findings:
        click.echo(f"{row.verdict:<5} {row.subject:<14} {row.detail}")
    if failed is None:
        click.echo(f"token {config.token}  (nkfast run --live --token; of these settings only)")
    return code


def _configuration(config: BotConfig) -> _Finding:
    given = len(config.entries)
    text = f"{config.strategy_name}, mode {config.common.mode}: {given} keys given, 0 unknown"
    return _Finding("ok", "configuration", text)


def _limits(config: BotConfig) -> _Finding:
    try:
        config.risk.limits().require_live()
    except ConfigError as error:
        is_live = config.common.mode == "live"
        return _Finding("fail" if is_live else "warn", "limits", error.message, ExitCode.CONFIG)
    return _Finding("ok", "limits", "all that live trading needs are set")


async def _online(config: BotConfig) -> list[_Finding]:
    findings = []
    async with AsyncRestClient(base_url=config.exchange.rest_url) as rest:
        try:
            findings.append(await _clock(rest))
        except NkfastError as error:
            failure = describe(error)
            return [_Finding("fail", "exchange", failure.message, failure.code)]
    try:
        found = find_credentials()
        if found.credentials is None:
            is_live = config.common.mode == "live"
            verdict = "fail" if is_live else "ok"
            text = "none; nkfast keys set stores one" + ("" if is_live else ", live needs it")
            findings.append(_Finding(verdict, "API key", text, ExitCode.AUTH))
        else:
            findings.append(_Finding("ok", "API key", f"found in {found.source}"))
        outlook = await look_ahead(config)
    except NkfastError as error:
        failure = describe(error)
        findings.append(_Finding("fail", "exchange", failure.message, failure.code))
        return findings
    return [*findings, *_of_outlook(config, outlook)]


async def _clock(rest: AsyncRestClient) -> _Finding:
    clock = RealClock()
    before = clock.time_ns()
    venue_ms = (await rest.get_time()).time_ms
    skew_ms = (before + clock.time_ns()) / 2e6 - venue_ms
    text = f"{skew_ms:+.0f} ms from the exchange's"
    is_bad = abs(skew_ms) > _SKEW_MAX_S * 1000
    return _Finding("fail" if is_bad else "ok", "clock", text, ExitCode.AUTH)


def _of_outlook(config: BotConfig, outlook: Outlook) -> Iterator[_Finding]:
    market = outlook.market
    yield _Finding(
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
        yield _Finding(verdict, "balances", f"{text}has {owned}")
    needs = ", ".join(f"{plain(amount)} {asset}" for asset, amount in outlook.needs.items())
    text = f"{len(outlook.orders)} orders need {needs or 'nothing'}"
    yield _Finding("ok", "plan", "takes legs at once" if outlook.is_plan else text)
    yield from _of_limits(config, outlook)
    for skip in outlook.skips[:5]:
        yield _Finding("warn", "not done", f"{skip.code}: {skip.detail}")


def _of_limits(config: BotConfig, outlook: Outlook) -> Iterator[_Finding]:
    limits = config.risk.limits()
    largest = max((order.notional for order in outlook.orders), default=ZERO)
    if limits.max_order_notional is not None and largest > limits.max_order_notional:
        text = f"{plain(largest)} is above max_order_notional {plain(limits.max_order_notional)}"
        yield _Finding("warn", "largest order", text)
    spent = ZERO
    for order in outlook.orders:
        if order.side == "buy" and order.symbol == outlook.market.symbol:
            spent = add(spent, order.notional)
    if spent:
        text = f"if the price falls to 0: -{plain(spent)} {outlook.market.quote} of the buys"
        yield _Finding("ok", "worst case", text)


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
