"""A replay is the live engine over a recording: it trades, it is repeatable, it survives damage."""

import gzip
import json
import os
import random
import subprocess
import sys
from decimal import Decimal as D
from pathlib import Path

import pytest

import nkfast
from nkfast.app.replay import ReplaySummary, replay
from nkfast.core.market import Market
from nkfast.errors import ConfigError, UnreachableError, WireError
from nkfast.trading.news import NewsDesk
from nkfast.venue.tape import TapePlayer, TapeReader, TapeWriter, survey

T0 = 1_790_000_000_000_000_000
MS = 1_000_000
SYMBOL = "AAA/USDT"
CAPTURES = ("coinbase-2021-04-17.tsv.gz", "bequant-2021-07-03.tsv.gz")


def frame(method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def levels(rows: list[tuple[int, int]]) -> list[dict[str, str]]:
    return [{"price": f"{p / 100:.2f}", "quantity": f"{q / 10:.1f}"} for p, q in rows]


def record(path: Path, *, seconds: int = 40, symbol: str = SYMBOL, seed: int = 5) -> Path:
    """Record a market that wanders by a few ticks and trades at the touch."""
    noise = random.Random(seed)
    mid, sequence = 10_000, 1
    bids = [(mid - n, 50 + n) for n in range(1, 21)]
    asks = [(mid + n, 50 + n) for n in range(1, 21)]
    with TapeWriter(path) as tape:
        tape.write(
            T0,
            frame(
                "snapshotOrderbook",
                symbol=symbol,
                sequence=sequence,
                bids=levels(bids),
                asks=levels(asks),
            ),
        )
        for step in range(1, seconds * 20):
            now = T0 + step * 50 * MS
            side = noise.choice(["buy", "sell"])
            # The touch is traded away, and comes back one tick further on the other side.
            taken = mid + 1 if side == "buy" else mid - 1
            mid += 1 if side == "buy" else -1
            sequence += 1
            gone = levels([(taken, 0)])
            back = levels([(mid - 1 if side == "buy" else mid + 1, 60)])
            tape.write(
                now,
                frame(
                    "updateOrderbook",
                    symbol=symbol,
                    sequence=sequence,
                    bids=back if side == "buy" else gone,
                    asks=gone if side == "buy" else back,
                ),
            )
            trade = {
                "id": str(step),
                "price": f"{taken / 100:.2f}",
                "quantity": "5.0",
                "side": side,
                "timestampms": now // MS,
            }
            tape.write(now, frame("updateTrades", symbol=symbol, sequence=str(step), data=[trade]))
    return path


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("tape") / "walk.tsv")


@pytest.fixture(scope="module")
def clean(tape: Path) -> ReplaySummary:
    return replay(tape)


def test_a_replay_trades_and_its_books_agree(clean: ReplaySummary) -> None:
    assert clean.symbol == SYMBOL
    assert clean.frames == {"snapshot": 1, "trades": 799, "update": 799}
    assert clean.rejected == {}
    assert clean.orders > 5
    assert clean.fills > 5
    assert clean.fees["USDT"] > 0
    assert (clean.open_orders, clean.unknown_orders, clean.rejects) == (0, 0, 0)
    assert clean.journal.ok
    assert (clean.journal.orders, clean.journal.fills) == (clean.orders, clean.fills)
    assert clean.virtual_s == pytest.approx(39.95)
    assert clean.wall_s < 20
    assert clean.frames_per_s > 0


def test_the_summary_is_json(clean: ReplaySummary) -> None:
    record = json.loads(json.dumps(clean.as_json()))
    assert record["hash"] == clean.hash
    assert D(record["fees"]["USDT"]) == clean.fees["USDT"]
    assert record["journal"]["ok"] is True
    assert len(record["hash"]) == 64


def test_the_same_run_has_the_same_hash_and_another_seed_another(
    tape: Path, clean: ReplaySummary
) -> None:
    again = replay(tape)
    assert again.hash == clean.hash
    assert (again.orders, again.fills, again.fees) == (clean.orders, clean.fills, clean.fees)
    assert replay(tape, seed=1).hash != clean.hash
    assert replay(tape, settings={"base_order_size": "1"}).hash != clean.hash


def hash_in_another_process(path: Path, hash_seed: str) -> str:
    code = (
        "import sys; from nkfast.app.replay import replay;"
        "sys.stdout.write(replay(sys.argv[1]).hash)"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": str(Path(nkfast.__file__).parent.parent),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_the_hash_does_not_depend_on_the_process(
    tape: Path, clean: ReplaySummary, hash_seed: str
) -> None:
    assert hash_in_another_process(tape, hash_seed) == clean.hash


DAMAGE = {
    "line_no_tab": b"no tab here\n",
    "line_bad_time": b"12:30\t{}\n",
    "line_empty": b"%d\t\n" % T0,
    "line_time_jump": b"%d\t{}\n" % (T0 * 2),
    "rejected_json": b'%d\t{"method":"updateOrderbook","params":{"symbol":"AAA/USDT","seq\n' % T0,
    "rejected_sequence": b"%d\t" % T0
    + frame("updateOrderbook", symbol=SYMBOL, sequence=-4, bids=[], asks=[])
    + b"\n",
    "rejected_shape": b"%d\t" % T0
    + frame("updateOrderbook", symbol=SYMBOL, sequence=5, bids={"price": 1}, asks=[])
    + b"\n",
    "rejected_price": b"%d\t" % T0
    + frame(
        "updateOrderbook",
        symbol=SYMBOL,
        sequence=5,
        bids=[{"price": "-3.00", "quantity": "1.0"}],
        asks=[],
    )
    + b"\n",
    "rejected_quantity": b"%d\t" % T0
    + frame(
        "snapshotOrderbook",
        symbol=SYMBOL,
        sequence=5,
        bids=[{"price": "3.00", "quantity": "many"}],
        asks=[],
    )
    + b"\n",
    "other": b'%d\t{"method":"updateWeather","params":{"symbol":"AAA/USDT"}}\n' % T0,
    "unknown_market": b"%d\t" % T0
    + frame("updateOrderbook", symbol="BBB/USDT", sequence=2, bids=[], asks=[])
    + b"\n",
    "binary": b"%d\t\x00\xff\xfe\x80\n" % T0,
}


def test_damage_between_the_frames_changes_nothing_and_is_counted(
    tape: Path, clean: ReplaySummary, tmp_path: Path
) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    noise = random.Random(3)
    rounds = 5
    for _ in range(rounds):
        for damage in DAMAGE.values():
            lines.insert(noise.randrange(1, len(lines)), damage)
    damaged = tmp_path / "damaged.tsv"
    damaged.write_bytes(b"".join(lines))
    market = Market(SYMBOL, 2, 1)
    result = replay(damaged, markets=[market])
    assert result.hash == clean.hash
    assert result.frames["update"] == clean.frames["update"]
    counted = {**result.rejected, **result.frames}
    for kind in DAMAGE:
        if kind != "binary":
            assert counted[kind] >= rounds, kind
    assert sum(n for kind, n in result.rejected.items() if kind.startswith("rejected_")) >= 6 * 5
    assert result.journal.ok


def test_an_oversized_frame_changes_nothing_and_is_counted(
    tape: Path, clean: ReplaySummary, tmp_path: Path
) -> None:
    head, rest = tape.read_bytes().split(b"\n", 1)
    huge = b'%d\t{"method":"updateOrderbook","params":{"x":"%b"}}\n' % (T0, b"x" * (17 << 20))
    damaged = tmp_path / "huge.tsv"
    damaged.write_bytes(head + b"\n" + huge + rest)
    result = replay(damaged)
    assert result.rejected == {"line_oversized": 1}
    assert result.hash == clean.hash


def test_a_lost_frame_stops_trading_and_is_counted(tape: Path, tmp_path: Path) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    middle = next(i for i in range(800, 900) if b"updateOrderbook" in lines[i])
    lines[middle] = lines[middle][: len(lines[middle]) // 2] + b"\n"
    cut = tmp_path / "cut.tsv"
    cut.write_bytes(b"".join(lines))
    result = replay(cut)
    assert result.frames["gap"] == 1
    assert result.rejected["rejected_json"] == 1
    assert result.journal.ok
    assert (result.open_orders, result.unknown_orders) == (0, 0)


def test_a_truncated_file_is_replayed_as_far_as_it_goes(tape: Path, tmp_path: Path) -> None:
    packed = gzip.compress(tape.read_bytes())
    short = tmp_path / "short.tsv.gz"
    short.write_bytes(packed[: len(packed) * 3 // 4])
    result = replay(short)
    assert result.rejected["line_damaged_gzip"] == 1
    assert 100 < result.frames["update"] < 799
    assert result.journal.ok


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_never_crashes(tape: Path, tmp_path: Path, seed: int) -> None:
    noise = random.Random(seed)
    content = bytearray(tape.read_bytes()[:60_000])
    for _ in range(60):
        content[noise.randrange(len(content))] = noise.randrange(256)
    damaged = tmp_path / "t.tsv"
    damaged.write_bytes(content)
    try:
        result = replay(damaged, symbol=SYMBOL)
    except UnreachableError:  # the only snapshot was hit
        return
    assert result.journal.ok
    assert (result.open_orders, result.unknown_orders) == (0, 0)
    assert replay(damaged, symbol=SYMBOL).hash == result.hash


def test_what_cannot_be_replayed_says_why(tape: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'ZZZ/USDT'.*AAA/USDT"):
        replay(tape, symbol="ZZZ/USDT")
    with pytest.raises(ConfigError, match=r"no strategy 'girl'; did you mean 'grid'"):
        replay(tape, strategy="girl")
    with pytest.raises(ConfigError, match="base_order_size"):
        replay(tape, settings={"base_order_sise": "1"})
    empty = tmp_path / "empty.tsv"
    empty.write_bytes(b"")
    with pytest.raises(WireError, match="no recorded frame"):
        replay(empty)
    headless = tmp_path / "headless.tsv"
    headless.write_bytes(b"".join(tape.read_bytes().splitlines(keepends=True)[1:]))
    with pytest.raises(UnreachableError, match="no snapshot of AAA/USDT"):
        replay(headless)
    with pytest.raises(FileNotFoundError):
        replay(tmp_path / "absent.tsv")


def test_a_recording_that_cannot_be_read_to_its_end_is_an_error(
    tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: TapePlayer, symbols: object, deliver: object) -> None:
        await play(self, symbols, deliver)  # type: ignore[arg-type]
        raise OSError("the disk is gone")

    play = TapePlayer.run
    monkeypatch.setattr(TapePlayer, "run", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        replay(tape)


def test_an_error_in_a_callback_is_not_swallowed(
    tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: NewsDesk, symbol: str, received_ns: int) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(NewsDesk, "on_book", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        replay(tape)


def test_funds_that_cannot_pay_leave_reasons(tape: Path) -> None:
    poor = replay(tape, funds={"AAA": D(0), "USDT": D(0)})
    assert (poor.orders, poor.fills) == (0, 0)
    assert poor.reasons["SHORT_OF_FUNDS"] > 0


@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures_are_traded(shared_data: Path, name: str) -> None:
    path = shared_data / "captures" / name
    result = replay(path)
    assert result.orders > 0
    assert result.fills > 0
    assert result.rejected == {}
    assert sum(result.frames.values()) == sum(1 for _ in TapeReader(path))
    assert result.journal.ok
    assert (result.open_orders, result.unknown_orders, result.rejects) == (0, 0, 0)
    assert hash_in_another_process(path, "7") == result.hash


@pytest.mark.parametrize("name", CAPTURES)
def test_a_damaged_copy_of_a_capture_trades_as_the_capture(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    path = shared_data / "captures" / name
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    symbol, found = next(iter(survey(path).symbols.items()))
    noise = random.Random(11)
    damaged = []
    for line in lines:
        damaged.append(line)
        if noise.random() < 0.2:
            stamp, _, text = line.rstrip(b"\n").partition(b"\t")
            cut = text[: noise.randrange(1, len(text))]
            renamed = text.replace(b'"method":"', b'"method":"x', 1)
            negative = text.replace(b'"price":"', b'"price":"-').replace(b"[]", b"[1]")
            for bad in (cut, cut[::-1], renamed, negative, b"\xff" + text):
                damaged.append(stamp + b"\t" + bad + b"\n")
            damaged += [text + b"\n", stamp + b"\n", b"\t" + text + b"\n", b"x" + line]
    copy = tmp_path / name
    copy.write_bytes(gzip.compress(b"".join(damaged)))
    clean = replay(path)
    result = replay(copy, symbol=symbol, markets=[found.market])
    assert result.hash == clean.hash
    assert sum(result.rejected.values()) > len(lines)
    assert {kind: result.frames[kind] for kind in ("snapshot", "update", "trades")} == {
        kind: clean.frames[kind] for kind in ("snapshot", "update", "trades")
    }
