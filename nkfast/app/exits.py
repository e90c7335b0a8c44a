"""How a command ends: exit codes that scripts may rely on, and one line per error."""

from enum import IntEnum
from typing import NamedTuple

import click

from nkfast import errors

__all__ = ["ExitCode", "Failure", "NotFoundError", "codes_by_error", "describe", "failures"]


class ExitCode(IntEnum):
    """The exit codes of every command; a number never changes its meaning."""

    OK = 0
    ERROR = 1  # unexpected
    USAGE = 2  # unknown command or option, bad value
    CONFIG = 3  # a file or a setting in it
    AUTH = 4  # key missing, refused or without permission; clock skew
    UNREACHABLE = 5
    NOT_FOUND = 6  # bot or market
    WRONG_STATE = 7  # already running, or not running
    RISK_HALT = 8
    UNRECONCILED = 9  # venue and journal disagree
    INCOMPLETE_STOP = 10  # stopped, but orders may remain
    SIGINT = 130  # after the clean stop, as is the next one
    SIGTERM = 143


class NotFoundError(errors.ConfigError):
    """What was named is not there: an instance, a market."""


class Failure(NamedTuple):
    """An error as the user reads it: ``error[CONFIG] grid.toml:14: unknown key "setp"``."""

    code: ExitCode
    place: str
    message: str

    def __str__(self) -> str:
        place = f" {self.place}:" if self.place else ""
        return f"error[{self.code.name}]{place} {self.message}"


#: The first class that an error is an instance of decides, so the narrow ones come first.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (click.UsageError, ExitCode.USAGE),
    (click.FileError, ExitCode.CONFIG),
    (NotFoundError, ExitCode.NOT_FOUND),
    (errors.ConfigError, ExitCode.CONFIG),
    (errors.ModeError, ExitCode.CONFIG),
    (errors.FixedPointError, ExitCode.CONFIG),
    (errors.AuthenticationError, ExitCode.AUTH),
    (errors.PermissionDeniedError, ExitCode.AUTH),
    (errors.SymbolNotFoundError, ExitCode.NOT_FOUND),
    (errors.RateLimitError, ExitCode.UNREACHABLE),
    (errors.UnreachableError, ExitCode.UNREACHABLE),
    (errors.OutcomeUnknownError, ExitCode.UNRECONCILED),
    (errors.OrderError, ExitCode.UNRECONCILED),
    (errors.LifeError, ExitCode.WRONG_STATE),
    (errors.NotRunningError, ExitCode.WRONG_STATE),
    (errors.HaltedError, ExitCode.RISK_HALT),
    (errors.JournalLockedError, ExitCode.WRONG_STATE),
    (errors.JournalCorruptError, ExitCode.UNRECONCILED),
    (errors.RiskError, ExitCode.RISK_HALT),
    (FileNotFoundError, ExitCode.CONFIG),
    (FileExistsError, ExitCode.CONFIG),
    (IsADirectoryError, ExitCode.CONFIG),
    (PermissionError, ExitCode.CONFIG),
    (click.Abort, ExitCode.SIGINT),
    (KeyboardInterrupt, ExitCode.SIGINT),
)
#: A halt that was caused by something with an exit code of its own.
_HALTS = {
    "UNRECONCILED": ExitCode.UNRECONCILED,
    "UNKNOWN_ORDERS": ExitCode.UNRECONCILED,
    "KEY_REFUSED": ExitCode.AUTH,
}


def describe(error: BaseException) -> Failure:
    """Return the exit code and the one line for an error that ends a command."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.ERROR)
    if isinstance(error, errors.HaltedError):
        code = _HALTS.get(error.cause, code)
    if code is ExitCode.SIGINT:
        return Failure(code, "", "interrupted")
    if isinstance(error, click.UsageError):
        place = error.ctx.command_path if error.ctx is not None else ""
        return Failure(code, place, _usage_message(error))
    if isinstance(error, click.ClickException):
        return Failure(code, "", _one_line(error.format_message()))
    if isinstance(error, errors.ConfigError):
        return Failure(code, error.place, _one_line(error.message))
    if isinstance(error, errors.HaltedError):
        said = f"halted by {error.cause}: {error.detail}; once you have looked:"
        return Failure(code, "", _one_line(f"{said} nkfast journal clear NAME {error.cause}"))
    if isinstance(error, errors.NkfastError):
        return Failure(code, "", _one_line(str(error)))
    if isinstance(error, OSError) and error.filename is not None:
        return Failure(code, str(error.filename), (error.strerror or str(error)).lower())
    return Failure(
        code, "", f"{type(error).__name__}: {_one_line(str(error))} (--debug shows where)"
    )


def codes_by_error() -> tuple[tuple[type[BaseException], ExitCode], ...]:
    """Return which errors end with which code; the first kind that fits decides."""
    return _CODES


def failures(error: BaseException) -> tuple[Failure, ...]:
    """Return the failures of an error, at least one: settings can be wrong in many ways at once."""
    if isinstance(error, errors.ConfigErrors):
        return tuple(describe(problem) for problem in error.problems)
    return (describe(error),)


def _usage_message(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name}" + _did_you_mean(error.possibilities)
    if isinstance(error, click.NoSuchCommand):
        return f"no such command {error.command_name}" + _did_you_mean(error.possibilities)
    said = _one_line(error.format_message()).rstrip(".")
    return said[0].lower() + said[1:]


def _did_you_mean(possibilities: list[str] | None) -> str:
    return f"; did you mean {possibilities[0]}?" if possibilities else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
