"""Alerts reach a real server; a dead one disturbs nobody, and no address is ever written."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from app.receiver import Receiver, receiving
from click.testing import CliRunner

from nkfast.app import alerts
from nkfast.app.alert_rules import AlertRules, News
from nkfast.app.alerts import Alerts, alerting
from nkfast.app.cli import main
from nkfast.app.config.alerts import AlertSettings
from nkfast.app.config.bot import load_config
from nkfast.app.exits import ExitCode
from nkfast.app.logs import say
from nkfast.errors import ConfigError, ConfigErrors

CANARY = "canary-hook-5f1c"
TOKEN = "123456:canary-token"
#: What it imports is deprecated in some Pythons.
APPRISE = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "_TICK_S", 0.01)
    monkeypatch.setattr(alerts, "_WAITS_S", (0.01, 0.01))


def until(is_so: Callable[[], object], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def everywhere(url: str, **more: Any) -> AlertSettings:
    return AlertSettings(
        webhook=f"{url}/hook/{CANARY}?key={CANARY}",
        discord=f"{url}/discord/{CANARY}",
        telegram_token=TOKEN,
        telegram_chat="42",
        telegram_api=url,
        apprise=[f"{url.replace('http', 'json')}/apprise/{CANARY}"],
        **more,
    )


@APPRISE
def test_every_way_arrives(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = everywhere(receiver.url)
    with alerting(settings, instance="bot", mode="live", secrets=("canary-secret",)):
        say("life", "running: started, canary-secret", state="running", reason="started")
        until(lambda: len(receiver.posts) >= 4)
    by_path = {path.split("/")[1].split("?")[0]: body for path, body in receiver.posts}
    text = "LIVE bot: running: started, [removed]"
    hook = by_path["hook"]
    assert {name: hook[name] for name in ("text", "level", "instance", "mode")} == {
        **{"text": text, "level": "info", "instance": "bot", "mode": "live"}
    }
    assert by_path["discord"]["content"] == text
    assert by_path[f"bot{TOKEN}"] == {"chat_id": "42", "text": text}
    assert by_path["apprise"]["message"] == text
    paths = {path for path, _ in receiver.posts}
    assert f"/hook/{CANARY}?key={CANARY}" in paths
    assert f"/bot{TOKEN}/sendMessage" in paths
    own = "".join(line.getMessage() for line in caplog.records if line.name.startswith("nkfast"))
    assert CANARY not in own and TOKEN not in own


def test_fills_errors_and_last_words(receiver: Receiver) -> None:
    settings = AlertSettings(webhook=receiver.url, min_value=10)
    log = logging.getLogger("nkfast.venue")
    with alerting(settings, instance="bot", mode="paper"):
        say("fill", "small fill", price="1", quantity="9.99")
        say("fill", "large fill", price="1", quantity="10")
        say("order", "an order")
        say("why", "a reason")
        log.warning("the feed is %s", "odd")
        say("life", "halted: MAX_DAILY_LOSS", state="halted", reason="MAX_DAILY_LOSS")
    # The block has ended: what was said in it was sent before.
    texts = "\n".join(body["text"] for _, body in receiver.posts)
    assert "large fill" in texts and "WARNING the feed is odd" in texts and "halted" in texts
    assert not any(word in texts for word in ("small fill", "an order", "a reason"))
    assert receiver.posts[-1][1]["level"] == "urgent"


@contextmanager
def dead_end() -> Iterator[str]:
    """Give the address of a server that takes connections and never answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # it never serves
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.server_close()


def test_dead_receiver_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alerts, "_LAST_WORDS_S", 0.2)
    with dead_end() as url:
        began = time.monotonic()
        with alerting(AlertSettings(webhook=f"{url}/{CANARY}"), instance="b", mode="live"):
            worst = 0.0
            for number in range(3_000):  # more than the queue holds
                before = time.monotonic()
                say("life", f"running {number}", state="running")
                worst = max(worst, time.monotonic() - before)
        took = time.monotonic() - began
    assert worst < 0.5
    assert took < 5.0
    assert CANARY not in caplog.text


def test_refusing_receiver_is_tried_again_and_given_up(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    hook = f"{receiver.url}/{CANARY}"
    told = Alerts(AlertSettings(webhook=hook), instance="b", mode="live")
    told.start()
    told.emit(_record("life", "first"))
    until(lambda: told.failed == 1)
    assert len(receiver.posts) == 3
    assert "an alert by webhook was given up: HTTP status 500" in caplog.text
    receiver.status = 204
    told.emit(_record("life", "second"))
    until(lambda: told.sent == 1)
    told.stop()
    assert CANARY not in caplog.text


def _record(tag: str, text: str) -> logging.LogRecord:
    record = logging.LogRecord("nkfast.app", logging.INFO, "", 0, text, (), None)
    record.tag, record.fields = tag, {"state": "running"}
    return record


def test_bot_that_stands_still_is_told_of(receiver: Receiver) -> None:
    settings = AlertSettings(webhook=receiver.url, silence_s="0.2")
    with alerting(settings, instance="bot", mode="live") as beat:
        beat(None)
        until(lambda: receiver.posts)  # nothing beats: its loop is stuck
        assert "SILENCE the bot has not moved" in receiver.posts[0][1]["text"]
        assert receiver.posts[0][1]["level"] == "urgent"
        beat(None)
        until(lambda: len(receiver.posts) > 1)
    assert "over after" in receiver.posts[1][1]["text"]


# The rules, without time ---------------------------------------------------------------------


def rules(minute: list[int], **settings: Any) -> AlertRules:
    return AlertRules(AlertSettings(webhook="http://x.test", **settings), 0.0, lambda: minute[0])


def test_quiet_hours_keep_all_but_what_cannot_wait() -> None:
    minute = [23 * 60]
    told = rules(minute, quiet="22:00-07:00")
    told.take(News("a"))
    assert told.due(1.0) is None
    told.take(News("halted", is_urgent=True))
    assert told.due(2.0) == ("a\nhalted", True)
    told.take(News("b"))
    minute[0] = 6 * 60 + 59
    assert told.due(3.0) is None
    minute[0] = 7 * 60
    assert told.due(4.0) == ("b", False)
    minute[0] = 22 * 60
    told.take(News("c"))
    assert told.due(5.0) is None
    assert told.due(6.0, is_last=True) == ("c", False)
    day = rules(minute, quiet="08:00-20:00")
    day.take(News("d"))
    assert day.due(1.0) == ("d", False)


def test_digest_adds_up_what_was_not_told() -> None:
    told = rules([0], min_value=100, digest_hours=2)
    told.note_status("60 s: 3 orders, 1 open, 2 fills, realized 0.5")
    for value in ("1.5", "2.25"):
        told.take(News("fill", value=Decimal(value)))
    assert told.due(7_199.0) is None
    due = told.due(7_200.0)
    assert due is not None
    assert due.text == (
        "DIGEST of 2.0 h: 2 fills worth 3.75; 60 s: 3 orders, 1 open, 2 fills, realized 0.5;"
        " up 2.0 h"
    )
    assert told.due(7_201.0) is None
    due = told.due(14_400.0)
    assert due is not None and "0 fills worth 0;" in due.text and "up 4.0 h" in due.text
    assert rules([0], digest_hours=0).due(1e9) is None


def test_market_that_says_nothing_is_told_of_once_and_when_it_is_back() -> None:
    told = rules([0], silence_s=10)
    told.look(10.0, 0.0, 10.0)
    assert told.due(10.0) is None
    for now_s in (20.0, 30.0):
        told.look(now_s, 0.0, now_s - 9.0)
    assert told.due(30.0) == ("SILENCE no market data for 11 s", True)
    told.look(31.0, 0.0, 0.1)
    assert told.due(31.0) == ("over after 22 s: no market data", True)
    off = rules([0], silence_s=0)
    off.look(1e6, 1e6, 1e6)
    assert off.due(1e6 + 1, is_last=True) is None or "SILENCE" not in str(off.due(1e6 + 1))


def test_flood_is_cut_and_counted_and_repeats_are_told_once() -> None:
    told = rules([0])
    for number in range(500):
        told.take(News(f"line {number}"))
        told.take(News(f"line {number}"))
    due = told.due(1.0)
    assert due is not None
    lines = due.text.splitlines()
    assert lines[0] == "(480 more before)"
    assert lines[1:] == [f"line {number}" for number in range(480, 500)]


# The configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'webhook = "ftp://x/{CANARY}"', "webhook is no URL that begins with http:// or https://"),
        (f'discord = "https://{CANARY}:x"', "discord is no URL"),
        (f'discord = ["{CANARY}"]', "discord is something else"),
        (f'telegram_token = "1:{CANARY}"', "telegram_token and telegram_chat go together"),
        (f'telegram_token = "1:{CANARY}/"', "telegram_token holds letters that no token has"),
        ('quiet = "22-7"', "quiet is '22-7'; write 22:00-07:00"),
        (f'webhok = "{CANARY}"', "unknown key 'webhok'; did you mean 'webhook'?"),
        ("min_value = -1", "min_value is -1; give at least 0"),
    ],
)
def test_what_is_wrong_is_said_without_the_address(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bot.toml"
    path.write_text(f'strategy = "grid"\nsymbol = "BTC/USDT"\nstep_pct = 0.01\n[alerts]\n{line}\n')
    with pytest.raises(ConfigErrors) as caught:
        load_config(path)
    said = "; ".join(problem.message for problem in caught.value.problems)
    assert message in said
    assert CANARY not in said


def test_address_is_on_no_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bot.toml"
    monkeypatch.setenv("HOOK", f"https://hooks.test/{CANARY}")
    path.write_text(
        'strategy = "grid"\nsymbol = "BTC/USDT"\nstep_pct = 0.01\n[alerts]\nwebhook = "${HOOK}"\n'
    )
    assert load_config(path).alerts.secrets == (f"https://hooks.test/{CANARY}",)
    for words in (("config", "show"), ("config", "show", "--json"), ("check", "--offline")):
        result = CliRunner().invoke(main, [*words, str(path)])
        assert result.exit_code == ExitCode.OK
        assert CANARY not in result.output


def test_message_can_be_tried_out(receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "bot.toml"
    head = 'strategy = "grid"\nsymbol = "BTC/USDT"\nstep_pct = 0.01\n'
    path.write_text(f'{head}[alerts]\nwebhook = "{receiver.url}/{CANARY}"\n')
    result = CliRunner().invoke(main, ["alerts", "test", str(path)])
    assert (result.exit_code, result.stdout) == (ExitCode.OK, "ok    webhook\n")
    receiver.status = 404
    result = CliRunner().invoke(main, ["alerts", "test", str(path), "--json"])
    assert result.exit_code == ExitCode.UNREACHABLE
    assert json.loads(result.stdout) == {"webhook": "HTTP status 404"}
    path.write_text(head)
    result = CliRunner().invoke(main, ["alerts", "test", str(path)])
    assert result.exit_code == ExitCode.CONFIG
    assert "[alerts] names nobody" in result.stderr


@APPRISE
def test_apprise_that_is_missing_or_does_not_know_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="is no address that Apprise knows"):
        Alerts(AlertSettings(apprise=["nosuch://x"]), instance="b", mode="live")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("nkfast.app.alert_sinks.importlib.import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install nkfast\[alerts\]"):
        Alerts(AlertSettings(apprise=["json://x"]), instance="b", mode="live")
