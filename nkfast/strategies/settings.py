"""What every strategy's settings share: exact numbers, ranges that explain themselves, old names.

A strategy's settings are one pydantic model. Its fields say unit, range and meaning of each key,
and from them come the checks, the page of documentation, the commented file of ``nkfast init`` and
the JSON Schema: nothing is written twice.
"""

import difflib
import types
from collections.abc import Mapping
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    Union,
    get_args,
    get_origin,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from nkfast.errors import ConfigError, ConfigErrors
from nkfast.trading.exact import EXACT, plain
from nkfast.wire.symbols import canonical

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = [
    "Asset",
    "Key",
    "OneMarketSettings",
    "Settings",
    "Symbol",
    "coarser_prices",
    "coarser_quantities",
    "fee_of_one_side",
    "key",
    "keys",
    "least_value",
]


def _canonical(symbol: str) -> str:
    return canonical(symbol) if symbol else symbol


#: ``BASE/QUOTE``, from any of the spellings that NonKYC knows.
Symbol = Annotated[str, AfterValidator(_canonical)]

#: An asset's name, in capitals as in a symbol.
Asset = Annotated[str, AfterValidator(str.upper)]

_LIMITS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def key(
    default: Any = ...,
    *,
    meaning: str,
    unit: str = "",
    gt: Any = None,
    ge: Any = None,
    lt: Any = None,
    le: Any = None,
    **more: Any,
) -> Any:
    """Declare one key of a strategy's settings.

    Parameters
    ----------
    default : object
        ``...`` makes the key required.
    meaning : str
        One or two sentences for the person who sets it.
    unit : str
        ``base``, ``quote``, ``fraction``, ``s``, ``ms``; empty for texts, counts and switches.
    gt, ge, lt, le : number or None
        The range.
    """
    return Field(
        default,
        description=meaning,
        gt=gt,
        ge=ge,
        lt=lt,
        le=le,
        json_schema_extra={"unit": unit} if unit else None,
        **more,
    )


class Settings(BaseModel):
    """The settings of a strategy. Fractions are fractions: 0.01 is one per cent, as "1%" is.

    Numbers come as text, int, Decimal or float; a float is taken as the shortest text that means
    it, which is what was typed. Immutable.

    Raises
    ------
    nkfast.errors.ConfigErrors
        Everything that is wrong, at once: unknown keys (the nearest known one is named), keys given
        twice under two names, values of another type or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    #: Other names of keys; one may stand for several.
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init__(self, **given: Any) -> None:
        values, problems = self._by_name(given)
        try:
            super().__init__(**values)
        except ValidationError as error:
            for details in error.errors(include_url=False, include_context=True):
                problems += self._problems(details, given)
        if problems:
            raise ConfigErrors(problems)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Make settings from a mapping of words, as a file or the command line has them."""
        return cls(**given)

    def symbols(self, listed: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the markets that the strategy trades, ``BASE/QUOTE``, its home first.

        Parameters
        ----------
        listed : mapping
            What the venue lists, by symbol; a strategy that trades whatever there is chooses.
        """
        del listed
        symbol: str = getattr(self, "symbol", "")
        return (symbol,) if symbol else ()

    @classmethod
    def _by_name(cls, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[ConfigError]]:
        values: dict[str, Any] = {}
        problems: list[ConfigError] = []
        origin: dict[str, str] = {}
        for word, value in given.items():
            names = (word,) if word in cls.model_fields else cls.aliases.get(word)
            if names is None:
                known = [*cls.model_fields, *cls.aliases]
                near = difflib.get_close_matches(word, known, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                problems.append(ConfigError(f"unknown key {word!r}; {hint}", word))
                continue
            for name in names:
                if name in values:
                    problems.append(
                        ConfigError(f"{word!r} and {origin[name]!r} both set {name!r}", word)
                    )
                values[name], origin[name] = value, word
        return values, problems

    @field_validator("*", mode="before")
    @classmethod
    def _read_as_typed(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes True for 1, and "yes" for True.
        assert info.field_name is not None
        is_switch = bool in _choices(cls.model_fields[info.field_name])
        if is_switch and not isinstance(value, bool | None):
            if value not in ("true", "false"):
                raise ValueError(f"is {value!r}; use true or false")
            return value == "true"
        if isinstance(value, bool) and not is_switch:
            raise ValueError(f"is {value!r}; give a number or a text")
        is_percent = isinstance(value, str) and value.endswith("%")
        if is_percent and _unit_of(cls.model_fields[info.field_name]) == "fraction":
            try:
                return Decimal(value.removesuffix("%").strip()).scaleb(-2, EXACT)
            except ArithmeticError:
                raise ValueError(f"is {value!r}, which is not a number") from None
        return value

    @classmethod
    def _problems(cls, details: ErrorDetails, given: Mapping[str, Any]) -> list[ConfigError]:
        name = ".".join(str(part) for part in details["loc"] if part != "")
        # Under the name that was typed.
        word = next(
            (word for word in given if word == name or name in cls.aliases.get(word, ())), name
        )
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, ConfigErrors):  # of a section
            return [
                ConfigError(problem.message, f"{word}.{problem.place}")
                for problem in cause.problems
            ]
        if isinstance(cause, ConfigError):
            return [ConfigError(cause.message, cause.place or word)]
        return [cls._problem(details, name, word)]

    @classmethod
    def _problem(cls, details: ErrorDetails, name: str, word: str) -> ConfigError:
        value, context = details["input"], details.get("ctx", {})
        shown = plain(value) if isinstance(value, Decimal) and value.is_finite() else repr(value)
        if _is_secret(cls.model_fields.get(name.partition(".")[0])):
            shown = "something else"
        match details["type"]:
            case "missing":
                text = "is required"
            case "value_error":
                text = str(context["error"])
            case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
                field = cls.model_fields.get(name)  # none for one of a table
                limits = _range_of(field) if field is not None else ""
                text = f"is {shown}; give {limits or _limits(context)}"
            case "literal_error":
                text = f"is {shown}; use {context['expected']}"
            case "model_type":
                text = f"is {shown}; give a section with keys"
            case "string_type":
                text = f"is {shown}; give a text"
            case "finite_number":
                text = f"is {shown}; give a finite number"
            case "int_from_float" | "int_parsing" | "int_type":
                text = f"is {shown}; give a whole number"
            case "decimal_parsing" | "decimal_type":
                text = f"is {shown}, which is not a number"
            case _:
                text = f"is {shown}: {details['msg']}"
        return ConfigError(text, word)


class OneMarketSettings(Settings):
    """What strategies have in common that trade on one market."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"trading_pair": ("symbol",)}

    symbol: Symbol = key("", meaning="BASE/QUOTE; empty means the market that it is given.")

    def check_market(self, market: "Market") -> None:
        """Check that a market is the one that is named, if one is.

        Raises
        ------
        nkfast.errors.ConfigError
            It is another one.
        """
        if self.symbol and self.symbol != market.symbol:
            raise ConfigError(f"is {self.symbol!r}, the market is {market.symbol}", "symbol")


def fee_of_one_side(
    default: str = "0.002", *, meaning: str = "Of one side; a round trip pays it twice."
) -> Any:
    """Declare what a fill costs, as a fraction of its value."""
    return key(Decimal(default), unit="fraction", ge=0, lt=1, meaning=meaning)


def least_value(
    default: str = "1",
    *,
    meaning: str = "Least value of an order; the market's own minimum holds as well.",
) -> Any:
    """Declare what an order must be worth."""
    return key(Decimal(default), unit="quote", ge=0, meaning=meaning)


def coarser_prices() -> Any:
    """Declare a grid of prices that is coarser than the market's."""
    return key(
        Decimal(0), unit="quote", ge=0, meaning="A coarser grid of prices; 0 takes the market's."
    )


def coarser_quantities() -> Any:
    """Declare a grid of quantities that is coarser than the market's."""
    return key(
        Decimal(0), unit="base", ge=0, meaning="A coarser grid of quantities; 0 takes the market's."
    )


class Key(NamedTuple):
    """One key of a strategy, for a person.

    ``default`` is None for a key that is required, ``range`` is empty where all values go.
    """

    name: str
    type: str
    unit: str
    default: str | None
    range: str
    meaning: str
    aliases: tuple[str, ...]


def keys(kind: type[Settings]) -> tuple[Key, ...]:
    """Return what a strategy can be told, in the order of its file.

    The keys of a section follow the section, as ``section.key``.
    """
    said: list[Key] = []
    for name, field in kind.model_fields.items():
        said.append(
            Key(
                name,
                _type_of(field),
                _unit_of(field),
                None if field.default is PydanticUndefined else _spelled(field.default),
                _range_of(field),
                field.description or "",
                tuple(word for word, names in kind.aliases.items() if name in names),
            )
        )
        for hint in _choices(field):
            section = _section_of(hint)
            if section is not None:
                said += (item._replace(name=f"{name}.{item.name}") for item in keys(section))
    return tuple(said)


def _unit_of(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    hint: Any = field.annotation
    is_union = get_origin(hint) in (types.UnionType, Union)
    return get_args(hint) if is_union else (hint,)


def _is_secret(field: FieldInfo | None) -> bool:
    """Whether a key's value must not be quoted."""
    hints = () if field is None else _choices(field)
    return any(SecretStr in (hint, *get_args(hint)) for hint in hints)


def _section_of(hint: Any) -> type[Settings] | None:
    item = get_args(hint)[0] if get_origin(hint) is tuple else hint
    return item if isinstance(item, type) and issubclass(item, Settings) else None


def _type_of(field: FieldInfo) -> str:
    names = {Decimal: "number", float: "number", int: "whole number", bool: "switch", str: "text"}
    names |= {SecretStr: "secret text"}
    said = []
    for hint in _choices(field):
        if _section_of(hint) is not None:
            said.append("section" if _section_of(hint) is hint else "list of sections")
        elif get_origin(hint) is Literal:
            said.append(" or ".join(repr(choice) for choice in get_args(hint)))
        elif get_origin(hint) is tuple:
            said.append("list of texts")
        elif get_origin(hint) in (Mapping, dict):
            kind = "value" if get_args(hint)[1] is Any else "number"
            said.append(f"{kind} for each name")
        elif hint is not type(None):
            said.append(names.get(hint, str(hint).replace("typing.", "")))
    return " or ".join(said)


def _range_of(field: FieldInfo) -> str:
    return " and ".join(
        said
        for limits in field.metadata
        if (said := _limits({name: getattr(limits, name, None) for name in _LIMITS}))
    )


def _limits(by_name: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{words} {limit}"
        for name, words in _LIMITS.items()
        if (limit := by_name.get(name)) is not None
    )


def _spelled(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | Mapping):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return plain(value) if isinstance(value, Decimal) else str(value)
