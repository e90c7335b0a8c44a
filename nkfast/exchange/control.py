"""The weather's levers over HTTP, for tests of programs that this process does not hold.

``GET /control/weather`` tells the rules, the seed and how often each fault struck; ``POST`` of
``{"weather": "storm"}`` or ``{"rules": [...]}``, with a ``seed`` if it should be another, changes
them. Only for callers on this machine who show the token.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from typing import Any, Final

from nkfast.errors import ConfigError, WireError
from nkfast.exchange.rest import Reply, error_reply
from nkfast.exchange.weather import Rule, Weather, preset
from nkfast.wire.codec import decode_json, encode_json

__all__ = ["WeatherControl"]

_PATH: Final = "/control/weather"


class WeatherControl:
    """Answers the requests that change one weather.

    Attributes
    ----------
    token : str
        What ``Authorization: Bearer`` must carry; made by chance.
    """

    def __init__(self, weather: Weather) -> None:
        self.token = secrets.token_hex(16)
        self._weather = weather

    @staticmethod
    def is_for(path: str) -> bool:
        """Whether a path is this interface's."""
        return path == _PATH

    def handle(self, method: str, remote: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        given = headers.get("authorization", "").encode()
        is_known = hmac.compare_digest(given, f"Bearer {self.token}".encode())
        if not (is_known and _is_this_machine(remote)):
            return error_reply(401, 401, "Not Authorized")
        if method == "POST":
            try:
                self._change(decode_json(body))
            except (ConfigError, WireError) as error:
                return error_reply(400, 10001, str(error))
        elif method != "GET":
            return error_reply(405, 402, "GET or POST")
        weather = self._weather
        state = {
            "seed": weather.seed,
            "rules": [rule.as_json() for rule in weather.rules],
            "strikes": dict(weather.strikes),
        }
        return Reply(200, encode_json(state))

    def _change(self, wanted: Any) -> None:
        if not isinstance(wanted, dict) or not wanted.keys() <= {"weather", "rules", "seed"}:
            raise ConfigError("give an object with weather or rules, and perhaps a seed")
        name, rows = wanted.get("weather"), wanted.get("rules", [])
        seed = wanted.get("seed", self._weather.seed)
        if ("weather" in wanted) == ("rules" in wanted):
            raise ConfigError("give either weather or rules")
        if not isinstance(rows, list) or not isinstance(seed, int):
            raise ConfigError("rules must be a list and the seed a whole number")
        rules = preset(str(name)) if name is not None else tuple(map(_rule, rows))
        self._weather.change(rules, seed)


def _rule(row: Any) -> Rule:
    # Numbers with a point come as Decimal, which chance cannot be computed with.
    if isinstance(row, dict):
        names = ("probability", "seconds", "jitter_s")
        row = {key: _real(value) if key in names else value for key, value in row.items()}
    return Rule.from_json(row)


def _real(value: Any) -> Any:
    if isinstance(value, bool) or not hasattr(value, "as_integer_ratio"):
        return value
    return float(value)


def _is_this_machine(remote: str) -> bool:
    try:
        return ipaddress.ip_address(remote).is_loopback
    except ValueError:
        return False
