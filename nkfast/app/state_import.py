"""``nkfast import-state``: go on where another bot for NonKYC stopped."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from nkfast.app.config.bot import BotConfig
from nkfast.app.connection import chosen_symbols, open_rest, read_markets
from nkfast.app.credentials import find_credentials
from nkfast.app.instance import Instance
from nkfast.errors import ConfigError
from nkfast.strategies.nonkycbot_state import TakenOver, take_over
from nkfast.trading.exact import ZERO, add, plain
from nkfast.trading.journal import Journal
from nkfast.venue.clock import RealClock

__all__ = ["Import", "as_json", "import_state"]


class Import(NamedTuple):
    """What a file became, and what the exchange said to it.

    ``journal`` is None where nothing was written; ``is_compared`` is False without an API key.
    """

    taken: TakenOver
    is_compared: bool
    journal: Path | None


async def import_state(
    file: Path, config: BotConfig, instance: Instance, *, writes: bool
) -> Import:
    """Read a state file and, if it is told to, put it into a new instance's journal.

    The first start compares everything with the exchange, as every start does.

    Raises
    ------
    nkfast.errors.ConfigError
        The file is no such state; the other bot's orders still rest, or the account does not hold
        what the file says; the instance has a journal already.
    nkfast.errors.VenueError
        The exchange cannot be asked.
    """
    try:
        data = json.loads(file.read_text("utf-8"), parse_float=Decimal)
    except ValueError as error:
        raise ConfigError(f"is no JSON: {error}", str(file)) from error
    if not isinstance(data, Mapping):
        raise ConfigError("holds no object", str(file))
    mode = config.common.mode
    journal = instance.journal_of(mode)
    if journal.exists():
        raise ConfigError("exists already; --name another instance", str(journal))
    key = find_credentials().credentials
    if key is None and mode == "live":
        raise ConfigError("needs an API key to compare with: nkfast keys set", "mode live")
    async with open_rest(config.exchange.rest_url, key) as rest:
        listed = {symbol: market for symbol, (market, _) in (await read_markets(rest)).items()}
        symbols = chosen_symbols(config, listed)
        markets = {symbol: listed[symbol] for symbol in symbols}
        strategy = config.kind.build(config.strategy, markets)
        try:
            taken = take_over(data, strategy, RealClock().time_ns() // 1_000_000)
        except ConfigError as error:
            raise ConfigError(error.message, str(file)) from error
        if key is not None:
            resting = {order.order_id for order in await rest.get_orders(symbol=symbols[0])}
            owned = {row.asset: add(row.available, row.held) for row in await rest.get_balances()}
            _compare(taken, resting, owned.get(markets[symbols[0]].base, ZERO), str(file))
    if not writes:
        return Import(taken, key is not None, None)
    state = {"strategy": strategy.name, "symbol": symbols[0], "state": taken.state}
    with instance.held(), Journal.open(journal, instance=instance.name) as made:
        made.set_strategy_state(json.dumps(state, separators=(",", ":")))
    return Import(taken, key is not None, journal)


def _compare(taken: TakenOver, resting: set[str], owned: Decimal, file: str) -> None:
    """Refuse what the exchange contradicts."""
    left = [order_id for order_id in taken.order_ids if order_id in resting]
    if left:
        shown = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        raise ConfigError(
            f"{len(left)} of its orders still rest ({shown}): stop that bot and cancel them, or"
            " both would trade",
            file,
        )
    if owned < taken.needs:
        raise ConfigError(
            f"says that {plain(taken.needs)} are to be sold, the account holds {plain(owned)}", file
        )


def as_json(found: Import) -> dict[str, Any]:
    """Return it as a record."""
    return {
        "taken_over": found.taken.said,
        "orders": list(found.taken.order_ids),
        "is_compared": found.is_compared,
        "journal": None if found.journal is None else str(found.journal),
        "state": found.taken.state,
    }
