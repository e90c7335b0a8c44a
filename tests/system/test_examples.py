"""Each example runs as a program against the simulated exchange."""

import asyncio
import re
import sys

import pytest

from nkfast.exchange.server import ExchangeSettings, serve

SETTINGS = ExchangeSettings(speed=50.0, tick_interval_s=0.01, seed=5)


async def run(name: str, *arguments: str, entered: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-P", "-m", f"nkfast.examples.{name}", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate(entered.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert (process.returncode, errors.decode()) == (0, "")
    return output.decode()


async def test_order_book() -> None:
    async with serve(SETTINGS) as there:
        output = await run("order_book", "BTC/USDT", "--url", there.ws_url, "--for", "3")
    assert re.search(r"^BTC/USDT bids \d+\.\d\d x \d+\.\d+$", output, re.MULTILINE)
    assert re.search(r"^BTC/USDT (buy|sell) \d+\.\d+ at \d+\.\d\d$", output, re.MULTILINE)
    assert re.search(r"^\d+ frames in 3 s$", output, re.MULTILINE)


async def test_account_stream() -> None:
    async with serve(SETTINGS) as there:
        key = f"{SETTINGS.key}\n{SETTINGS.secret}\n"
        output = await run("account_stream", "--url", there.ws_url, "--for", "1", entered=key)
    assert re.search(r"^balance USDT: \d+(\.\d+)? available, 0(\.0+)? held$", output, re.MULTILINE)
    assert output.endswith("1 s are over\n")


async def test_market_data() -> None:
    async with serve(SETTINGS) as there:
        output = await run("market_data", "BTC/USDT", "--base-url", there.rest_url)
    assert output.startswith("BTC/USDT: 2 price decimals")
    assert len(re.findall(r"^(?:bid|ask) \d+\.\d+ x \d+\.\d+$", output, re.MULTILINE)) == 10
    assert len(re.findall(r"^trade (?:buy|sell) ", output, re.MULTILINE)) == 5


async def test_one_order() -> None:
    async with serve(SETTINGS) as there:
        key = f"{SETTINGS.key}\n{SETTINGS.secret}\n"
        output = await run("one_order", there.rest_url, entered=key)
    assert re.fullmatch(
        r"new: buy 0\.0*1\d* BTC/USDT at \d+\.\d\d\nafter the cancel: cancelled\n", output
    )


@pytest.mark.parametrize("name", ["order_book", "account_stream", "market_data", "one_order"])
async def test_help(name: str) -> None:
    assert f"python -m nkfast.examples.{name}" in " ".join((await run(name, "--help")).split())


async def test_faults() -> None:
    output = await run("faults")
    lines = output.splitlines()
    assert len(lines) == 10, output
    pattern = re.compile(r"seed \d: \d+ faults, \d+ kills, \d+ fills")
    assert all(map(pattern.fullmatch, lines)), output
