"""Every error has its exit code and reads as one line."""

import click
import pytest

from nkfast import errors
from nkfast.app.exits import ExitCode, Failure, describe


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            errors.ConfigError("unknown key 'setp'; did you mean 'step'?", "grid.toml:14"),
            "error[CONFIG] grid.toml:14: unknown key 'setp'; did you mean 'step'?",
        ),
        (
            errors.TooManyDigitsError("1.234", "2 decimals"),
            "error[CONFIG] number '1.234' has too many decimal places (2 decimals)",
        ),
        (
            errors.NonceError("Bad Nonce", code=1002, endpoint="login"),
            "error[AUTH] login: Bad Nonce (code 1002)",
        ),
        (
            errors.PermissionDeniedError("no trading", endpoint="/createorder"),
            "error[AUTH] /createorder: no trading",
        ),
        (
            errors.SymbolNotFoundError("Market not found", code=2001),
            "error[NOT_FOUND] Market not found (code 2001)",
        ),
        (errors.UnreachableError("refused", sent="no"), "error[UNREACHABLE] refused"),
        (
            errors.OutcomeUnknownError("timed out", endpoint="newOrder", sent="maybe"),
            "error[UNRECONCILED] newOrder: timed out",
        ),
        (
            errors.JournalLockedError("j.db", "held by process 7"),
            "error[WRONG_STATE] journal j.db: held by process 7",
        ),
        (
            errors.JournalCorruptError("j.db", "two fills\nwith one id"),
            "error[UNRECONCILED] journal j.db: two fills with one id",
        ),
        (
            errors.OrderError("nk7", "live", "proof that it is gone"),
            "error[UNRECONCILED] order nk7 is live and cannot take proof that it is gone",
        ),
        (
            errors.LifeError("halted", "running", "KILL_SWITCH: by hand"),
            "error[WRONG_STATE] the engine is halted (KILL_SWITCH: by hand) and cannot become"
            " running",
        ),
        (
            errors.HaltedError("KILL_SWITCH", "by hand"),
            "error[RISK_HALT] halted by KILL_SWITCH: by hand; once you have looked:"
            " nkfast journal clear NAME KILL_SWITCH",
        ),
        (
            errors.HaltedError("UNKNOWN_ORDERS", "nk7 for 300 s"),
            "error[UNRECONCILED] halted by UNKNOWN_ORDERS: nk7 for 300 s; once you have looked:"
            " nkfast journal clear NAME UNKNOWN_ORDERS",
        ),
        (
            errors.RiskError("MAX_NOTIONAL", "12", "10"),
            "error[RISK_HALT] MAX_NOTIONAL: 12 against the limit 10",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "tape.tsv"),
            "error[CONFIG] tape.tsv: no such file or directory",
        ),
        (
            KeyError("level"),
            "error[ERROR] KeyError: 'level' (--debug shows where)",
        ),
        (click.Abort(), "error[SIGINT] interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_error_reads_as_one_line(error: Exception, line: str) -> None:
    assert str(describe(error)) == line


def test_numbers_never_change() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "ERROR": 1,
        "USAGE": 2,
        "CONFIG": 3,
        "AUTH": 4,
        "UNREACHABLE": 5,
        "NOT_FOUND": 6,
        "WRONG_STATE": 7,
        "RISK_HALT": 8,
        "UNRECONCILED": 9,
        "INCOMPLETE_STOP": 10,
        "SIGINT": 130,
        "SIGTERM": 143,
    }


def test_place_may_be_missing() -> None:
    assert str(Failure(ExitCode.ERROR, "", "why")) == "error[ERROR] why"
