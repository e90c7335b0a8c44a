"""A tape gives back what was written, and no content of a file can hurt its reader."""

import gzip
import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.errors import WireError
from nkfast.venue import tape
from nkfast.venue.tape import TapeReader, TapeWriter, survey

T0 = 1_618_677_817_077_736_000
SECOND = 1_000_000_000
CAPTURES = {
    "coinbase-2021-04-17.tsv.gz": (9826, "SKL/USD", 2645),
    "bequant-2021-07-03.tsv.gz": (1010, "BTC/USDB", 281),
}


def update(symbol: str, price: str, quantity: str) -> bytes:
    level = [{"price": price, "quantity": quantity}]
    params = {"symbol": symbol, "sequence": 2, "bids": level, "asks": []}
    return json.dumps({"method": "updateOrderbook", "params": params}).encode()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    records = [(T0, b'{"a":1}'), (T0, b"\t{tabs\tstay}"), (T0 + 5, "{é}".encode())]
    for name in ("plain.tsv", "packed.tsv.gz"):
        with TapeWriter(tmp_path / name) as writer:
            for unix_ns, frame in records:
                writer.write(unix_ns, frame)
        assert writer.frame_count == 3
        reader = TapeReader(tmp_path / name)
        assert list(reader) == records
        assert list(reader) == records  # each iteration reads anew
        assert not reader.rejected
    assert (tmp_path / "packed.tsv.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_the_same_frames_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        with TapeWriter(tmp_path / name) as writer:
            writer.write(T0, b"{}")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_line_ends_inside_a_frame_do_not_break_the_line(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "t.tsv") as writer:
        writer.write(T0, b'{\r\n"a":\n1}')
    [(_, frame)] = TapeReader(tmp_path / "t.tsv")
    assert json.loads(frame) == {"a": 1}


@pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz"])
def test_what_was_flushed_survives(tmp_path: Path, name: str) -> None:
    writer = TapeWriter(tmp_path / name)
    try:
        writer.write(T0, b"{}")
        writer.flush()
        assert list(TapeReader(tmp_path / name)) == [(T0, b"{}")]
    finally:
        writer.close()
        writer.close()


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        TapeWriter(tmp_path / "t.tsv")


@pytest.mark.parametrize(("unix_ns", "frame"), [(-1, b"{}"), (2**63, b"{}"), (T0, b"")])
def test_the_writer_refuses_what_no_reader_takes(
    tmp_path: Path, unix_ns: int, frame: bytes
) -> None:
    with TapeWriter(tmp_path / "t.tsv") as writer, pytest.raises(ValueError):
        writer.write(unix_ns, frame)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"no tab at all\n", "no_tab"),
        (b"\n", "no_tab"),
        (b"12x4\t{}\n", "bad_time"),
        (b"-5\t{}\n", "bad_time"),
        (b"1_0\t{}\n", "bad_time"),
        (b"\t{}\n", "bad_time"),
        (b"9223372036854775808\t{}\n", "bad_time"),
        (b"1" * 5000 + b"\t{}\n", "oversized"),
        (b"%d\t\n" % T0, "empty"),
        (b"%d\t{%b}\n" % (T0, b"x" * 100), "oversized"),
        (b"%d\t{%b}\n" % (T0, b"x" * 10_000), "oversized"),
        (b"%d\t{}\n" % (T0 + 86_401 * SECOND), "time_jump"),
    ],
)
def test_a_line_that_is_no_record_is_left_out_and_counted(
    tmp_path: Path, line: bytes, kind: str
) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"%d\t{1}\n" % T0 + line + b"%d\t{2}\r\n" % (T0 + 1))
    reader = TapeReader(path, max_frame_bytes=100)
    assert list(reader) == [(T0, b"{1}"), (T0 + 1, b"{2}")]
    assert reader.rejected == {kind: 1}


def test_a_limit_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="was 0"):
        TapeReader(tmp_path / "t.tsv", max_frame_bytes=0)


def test_a_frame_of_exactly_the_limit_passes(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"%d\t%b\r\n" % (T0, b"x" * 100))
    assert list(TapeReader(path, max_frame_bytes=100)) == [(T0, b"x" * 100)]


def test_time_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"%d\t{1}\n%d\t{2}\n%d\t{3}\n" % (T0, T0 - 10, T0 + 1))
    reader = TapeReader(path)
    assert [unix_ns for unix_ns, _ in reader] == [T0, T0, T0 + 1]
    assert reader.late == 1


def test_the_last_line_without_an_end_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"%d\t{1}\n%d\t{2}" % (T0, T0))
    reader = TapeReader(path)
    assert list(reader) == [(T0, b"{1}")]
    assert reader.rejected == {"cut_line": 1}


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_gzip_gives_its_sound_part(tmp_path: Path, damage: str) -> None:
    noise = random.Random(1)
    lines = [b"%d\t%d\n" % (T0 + i, noise.getrandbits(64)) for i in range(20_000)]
    packed = bytearray(gzip.compress(b"".join(lines)))
    if damage == "truncate":
        del packed[len(packed) // 2 :]
    else:
        packed[-6] ^= 0xFF  # the checksum
    (tmp_path / "t.gz").write_bytes(packed)
    reader = TapeReader(tmp_path / "t.gz")
    assert 1000 < len(list(reader)) <= 20_000
    assert reader.rejected == {"damaged_gzip": 1}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_no_content_of_a_file_raises(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("t") / "t"
    path.write_bytes(gzip.compress(content) if packed else content)
    reader = TapeReader(path, max_frame_bytes=64)
    times = [unix_ns for unix_ns, _ in reader]
    assert times == sorted(times)


def test_survey_takes_the_most_decimals_seen(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "t.tsv") as writer:
        writer.write(T0, update("AAA/USDT", "1.25", "7"))
        writer.write(T0, update("AAA/USDT", "1.2", "0.125"))
        writer.write(T0, update("BBB/USDT", "100", "0"))
        writer.write(
            T0 + SECOND,
            b'{"method":"updateTrades","params":{"symbol":"BBB/USDT",'
            b'"data":[{"price":0.5,"quantity":"1.5"},{"price":1e-3,"quantity":null}]}}',
        )
        writer.write(T0 + SECOND, b'{"result":true,"id":1}')
    found = survey(tmp_path / "t.tsv")
    assert list(found.symbols) == ["AAA/USDT", "BBB/USDT"]
    aaa, bbb = found.symbols.values()
    assert (aaa.market.price_decimals, aaa.market.quantity_decimals) == (2, 3)
    assert (bbb.market.price_decimals, bbb.market.quantity_decimals) == (1, 1)
    assert (aaa.frame_count, aaa.book_count, aaa.trade_count) == (2, 2, 0)
    assert (bbb.frame_count, bbb.book_count, bbb.trade_count) == (2, 1, 2)
    assert found.methods == {"reply": 1, "updateOrderbook": 3, "updateTrades": 1}
    assert found.duration_s == 1.0


def test_survey_is_not_impressed_by_nonsense(tmp_path: Path) -> None:
    with TapeWriter(tmp_path / "t.tsv") as writer:
        writer.write(T0, b"[" * 100_000)
        writer.write(T0, b"\xff\xfe")
        writer.write(T0, b"[1]")
        writer.write(T0, b'{"method":7,"params":[1]}')
        writer.write(T0, b'{"method":"updateOrderbook","params":{"symbol":"A B","bids":1}}')
        writer.write(T0, update("AAA/USDT", "1." + "0" * 400, "0." + "3" * 400))
        writer.write(T0, update("AAA/USDT", "NaN", "1.e5"))
    found = survey(tmp_path / "t.tsv")
    assert found.rejected == {"not_json": 3}
    market = found.symbols["AAA/USDT"].market
    assert (market.price_decimals, market.quantity_decimals) == (13, 8)


def test_survey_of_a_file_without_frames_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"hello\n")
    with pytest.raises(WireError, match=r"holds no recorded frame.*no_tab"):
        survey(tmp_path / "t.tsv")


@pytest.mark.parametrize("name", CAPTURES)
def test_real_captures_are_whole(shared_data: Path, name: str) -> None:
    frames, most_active, most_frames = CAPTURES[name]
    path = shared_data / "captures" / name
    reader = TapeReader(path)
    assert sum(1 for _ in reader) == frames
    assert not reader.rejected
    assert reader.late == 0
    found = survey(path)
    assert next(iter(found.symbols)) == most_active
    assert found.symbols[most_active].frame_count == most_frames
    assert sum(s.frame_count for s in found.symbols.values()) == frames
    assert 30 < found.duration_s < 31


def _usual(symbol: str, method: str, rows: list[tuple[str, str]], is_spaced: bool) -> bytes:
    levels = [{"price": price, "quantity": quantity} for price, quantity in rows]
    names = ("data",) if method == "updateTrades" else ("bids", "asks")
    params = {"symbol": symbol, "sequence": 1, **dict.fromkeys(names, levels)}
    frame = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(frame, separators=None if is_spaced else (",", ":")).encode()


_numbers = st.decimals("0.0001", "9999", places=4).map(lambda number: format(number, "f"))
_texts = _numbers.flatmap(lambda text: st.sampled_from([text, text[:-1], text[:-3], text[:-5]]))


@given(
    st.lists(
        st.builds(
            _usual,
            st.sampled_from(["A/B", "C/D"]),
            st.sampled_from(["snapshotOrderbook", "updateOrderbook", "updateTrades", "ticker"]),
            st.lists(st.tuples(_texts, _texts), max_size=3),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_frame_that_is_only_glanced_at_is_counted_as_one_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, frames: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    with TapeWriter(path) as writer:
        for number, content in enumerate(frames):
            writer.write(T0 + number, content)
    glanced = survey(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape, "_USUAL_HEAD", re.compile(rb"(?!)()()"))
        assert survey(path) == glanced
