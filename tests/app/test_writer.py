"""Who says something never waits for who reads it."""

import json
import logging
import threading
import time
from pathlib import Path

from nkfast.app.logs import logged, say
from nkfast.app.writer import Writer


def test_things_are_done_in_their_order_and_the_end_waits_for_them() -> None:
    done: list[int] = []
    writer = Writer("test", 100)
    for number in range(50):
        assert writer.put(lambda number=number: done.append(number))
    assert writer.close(5)
    assert done == list(range(50))


def test_P17_what_hangs_holds_nobody(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("nkfast.app.logs._WAITING_MAX", 5)
    monkeypatch.setattr("nkfast.app.logs._CLOSE_S", 0.1)
    goes_on, shown = threading.Event(), []

    def show(line: str) -> None:
        goes_on.wait(20)
        shown.append(line)

    path = tmp_path / "log.jsonl"
    began = time.monotonic()
    with logged(path, instance="one", mode="paper", show=show):
        for number in range(20):
            say("order", f"number {number}")
            time.sleep(0.002)  # the file keeps up
        goes_on.set()
        while len(shown) < 6:
            time.sleep(0.001)
        say("order", "the last")
        goes_on.clear()
    assert time.monotonic() - began < 5
    rows = [json.loads(line)["msg"] for line in path.read_text().splitlines()]
    assert rows == [*(f"number {number}" for number in range(20)), "the last"]
    goes_on.set()
    while len(shown) < 8:
        time.sleep(0.001)
    assert "14 lines are missing here" in shown[6]
    assert shown[7].endswith("the last")


def test_P09_a_reader_who_is_gone_is_shown_nothing_more(tmp_path: Path) -> None:
    tries: list[str] = []

    def show(line: str) -> None:
        tries.append(line)
        raise BrokenPipeError

    path = tmp_path / "log.jsonl"
    with logged(path, instance="one", mode="paper", show=show):
        for number in range(3):
            say("order", f"number {number}")
        logging.getLogger("nkfast").warning("a warning")
    assert len(tries) == 1
    assert len(path.read_text().splitlines()) == 4
