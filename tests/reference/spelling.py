"""Market-data frames in the many ways that JSON and the venue allow, or nearly allow."""

import json
from decimal import Decimal
from random import Random

ODD_AMOUNTS = [
    *['"-1"', "-1", "-0", '"1e3"', '""', "null", "[]", '" 1"', '"+1"', '".5"', '"5."', '"."'],
    *["1e999999", "1e-999999", "0e5", "1.5E+1", "9223372036854775807", "92233720368547758.08"],
    *['"99999999999999999999"', "0.000001", "123456.789", '"1.2.3"', '"x"', '"007"', '"0.00"'],
    *['"1_0"', '"١"', '"NaN"', "0.1000000000000000055511151231257827"],
]
TIMES = [
    *['"2026-04-17T16:43:37.075Z"', '"2024-02-29T23:59:59Z"', "1790000000123", "null", "{}"],
    *['"1790000000123"', '"2023-02-29T00:00:00Z"', '"1969-12-31T23:59:59Z"', '"never"', "1.5"],
    *['"2026-13-01T00:00:00Z"', '"2026-04-17T24:00:00Z"', '"2026-04-17 16:43:37Z"', "-5"],
    *['"2026-04-17T16:43:37.123456789Z"', '"2026-04-17T16:43:37.Z"'],
]


class Speller:
    """Write one message in one of the many ways that JSON and the venue allow, or nearly allow."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def one_in(self, n):
        return self.random.randrange(n) == 0

    def blank(self):
        return self.random.choice([" ", "\n", "\t \r", "  "]) if self.one_in(8) else ""

    def string(self, text):
        """A JSON string, some characters escaped."""
        if not self.one_in(4):
            return json.dumps(text, ensure_ascii=self.one_in(2))
        return '"' + "".join(self.character(c) for c in text) + '"'

    def character(self, c):
        if c in '"\\' or ord(c) < 0x20 or self.one_in(4):
            units = c.encode("utf-16-be", "surrogatepass").hex()
            spelled = "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
            return "\\/" if c == "/" and self.one_in(2) else spelled
        return c

    def members(self, pairs):
        pairs = list(pairs)
        if self.one_in(2):
            self.random.shuffle(pairs)
        if self.one_in(6):
            name = self.random.choice(["checksum", "x", "", "Price", "method ", "é"])
            pairs.insert(self.random.randrange(len(pairs) + 1), (name, self.anything()))
        if self.one_in(12) and pairs:  # a name twice: the last one counts
            pairs.append(self.random.choice(pairs))
            self.random.shuffle(pairs)
        if self.one_in(20) and pairs:
            del pairs[self.random.randrange(len(pairs))]
        inner = ",".join(
            f"{self.blank()}{self.string(name)}{self.blank()}:{self.blank()}{value}{self.blank()}"
            for name, value in pairs
        )
        return "{" + (inner or self.blank()) + "}"

    def array(self, items):
        return "[" + (self.blank() + ",".join(items) + self.blank()) + "]"

    def anything(self):
        """Any JSON value, and now and then what only looks like one."""
        if self.one_in(3):
            inner = [self.anything() for _ in range(self.random.randrange(3))]
            if self.one_in(2):
                return self.array(inner)
            return self.members(zip("abc", inner, strict=False))
        return self.random.choice(
            ["null", "true", "false", '""', '"x\\n\\ud800"', "0", "-0.5e+3", "1E400", "[]", "{}"]
            + ["NaN", "01", ".5", "nul", '"\\x"', '"\t"', "[1,]"] * self.one_in(60)
        )

    def number(self, text):
        """An amount given in plain digits, spelled as text or as a number."""
        choice = self.random.randrange(12)
        if choice < 5:
            return f'"{text}"'
        if choice < 8:
            return text
        if choice == 8:
            return self.string(text)
        if choice == 9:
            return self.exponent(text)
        if choice == 10:
            zeros = "0" * self.random.randrange(150 if self.one_in(4) else 12)
            quote = '"' * self.one_in(2)
            return quote + (text if "." in text else text + ".0") + zeros + quote
        if not self.one_in(8):
            return f'"{text}"'
        return self.random.choice(ODD_AMOUNTS)

    def exponent(self, text):
        shift = self.random.randrange(-9, 10)
        mantissa = Decimal(text).scaleb(-shift)
        sign = self.random.choice(["", "+"]) if shift >= 0 else ""
        return f"{mantissa:f}{self.random.choice('eE')}{sign}{shift}"

    def level(self):
        price = Decimal(self.random.randrange(1, 40)) / (100 if self.one_in(2) else 1)
        digits = self.random.choice([0, 0, 1, 5, 1234567])
        quantity = Decimal(digits).scaleb(-self.random.randrange(9))
        members = [("price", self.number(f"{price:f}")), ("quantity", self.number(f"{quantity:f}"))]
        return self.anything() if self.one_in(60) else self.members(members)

    def levels(self):
        if self.one_in(40):
            return self.anything()
        return self.array([self.level() for _ in range(self.random.randrange(5))])

    def sequence(self, number):
        if self.one_in(25):
            return self.random.choice(
                ["-1", "1.0", "1e3", '"1.0"', '"x"', "null", '""', "9" * 19, '"' + "9" * 18 + '"']
            )
        spelled = str(number)
        return f'"{spelled}"' if self.one_in(3) else spelled

    def time(self):
        return self.random.choice(TIMES)

    def symbol(self):
        if self.one_in(20):
            return self.random.choice(['"ETH/USDT"', '""', "null", "5", '"BTC/USDT "', '"\\ud800"'])
        return self.string(self.random.choice(["BTC/USDT", "BTC/USDT", "A/é"]))

    def trade(self):
        members = [
            ("id", self.random.choice(['"6f1"', "123456", '"é\\n"', f'"{"a" * 64}"'])),
            ("price", self.number("1.25")),
            ("quantity", self.number("0.5")),
            ("side", self.random.choice(['"buy"', '"sell"', '"Buy"', '"SELL"', '"b\\u0075y"'])),
        ]
        if self.one_in(15):
            bad = [("id", '""'), ("id", f'"{"a" * 65}"'), ("id", "1.5"), ("id", "null")]
            members.append(self.random.choice([*bad, ("side", '"hold"'), ("side", "1")]))
        members += [("timestamp", self.time())] * self.one_in(2)
        members += [("timestampms", self.time())] * self.one_in(2)
        return self.anything() if self.one_in(60) else self.members(members)

    def params(self, method, sequence):
        members = [("symbol", self.symbol())]
        if method == "ticker":
            names = ["lastPrice", "bestBid", "bestAsk", "highPrice", "lowPrice", "volume"]
            for name in names:
                empty = self.random.choice(["null", '""', '"0.00"', "0"])
                members.append((name, empty if self.one_in(4) else self.number("7.50")))
            members += [("updatedAt", self.time()), ("sequence", self.sequence(sequence))]
        elif "Trades" in method:
            trades = [self.trade() for _ in range(self.random.randrange(4))]
            members += [("data", self.array(trades)), ("sequence", self.sequence(sequence))]
        else:
            members += [("sequence", self.sequence(sequence))]
            members += [("timestamp", self.time())] * self.one_in(2)
            members += [("asks", self.levels()), ("bids", self.levels())]
        return self.members(members)

    def message(self, sequence):
        method = self.random.choice(
            ["updateOrderbook"] * 6
            + ["snapshotOrderbook", "updateTrades", "snapshotTrades", "ticker", "report"]
        )
        members = [("method", self.string(method)), ("params", self.params(method, sequence))]
        if not self.one_in(3):
            members.insert(0, ("jsonrpc", '"2.0"'))
        text = self.blank() + self.members(members) + self.blank()
        return text.encode("utf-8", "surrogatepass")

    def damaged(self, data):
        """The frame with a byte or two changed, lost, doubled or added."""
        data = bytearray(data)
        for _ in range(self.random.randrange(1, 3)):
            at = self.random.randrange(len(data)) if data else 0
            choice = self.random.randrange(5)
            if choice == 0:
                data[at : at + 1] = bytes([self.random.randrange(256)])
            elif choice == 1:
                del data[at : at + self.random.randrange(1, 4)]
            elif choice == 2:
                data[at:at] = self.random.choice(
                    [b'"', b"}", b"\\", b",", b"0", b"\xc3", b"{", b"-"]
                )
            elif choice == 3:
                data[at:at] = data[at : at + self.random.randrange(20)]
            else:
                del data[at:]
        return bytes(data)
