"""What all settings have in common: exact numbers, every error at once, keys for a person."""

import pickle
from decimal import Decimal
from importlib.metadata import EntryPoint, EntryPoints

import pytest

import nkfast.strategies
from nkfast.errors import ConfigError, ConfigErrors
from nkfast.strategies import load, names
from nkfast.strategies.grid import Grid, GridSettings
from nkfast.strategies.settings import Settings, key, keys


def test_everything_wrong_is_said_at_once_under_the_name_that_was_typed() -> None:
    with pytest.raises(ConfigErrors) as caught:
        GridSettings.read(
            {"grid_spread": "-1", "n_buy_level": 3, "fee_rate": "much", "base_order_size": True}
        )
    assert {problem.place for problem in caught.value.problems} == {
        *("grid_spread", "n_buy_level", "fee_rate", "base_order_size"),
    }
    assert "did you mean 'n_buy_levels'?" in str(caught.value)
    assert "grid_spread: is '-1'; give more than 0" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)


class _Store(Settings):
    """A section."""

    ratio: Decimal = key(Decimal(1), gt=0, le=1, meaning="How much.")
    enabled: bool = key(False, meaning="Whether.")


class _WithStore(Settings):
    """Settings with a section."""

    count: int = key(1, meaning="How many.")
    store: _Store | None = key(None, meaning="Where to.")


def test_a_section_has_keys_and_problems_of_its_own() -> None:
    made = _WithStore.read({"store": {"ratio": "0.5", "enabled": "true"}})
    assert made.store == _Store(ratio=Decimal("0.5"), enabled=True)
    assert _WithStore().store is None
    assert [(item.name, item.type) for item in keys(_WithStore)] == [
        ("count", "whole number"),
        ("store", "section"),
        ("store.ratio", "number"),
        ("store.enabled", "switch"),
    ]
    with pytest.raises(ConfigErrors) as caught:
        _WithStore.read({"store": {"ratio": 2, "enable": True}, "count": "many"})
    assert {problem.place for problem in caught.value.problems} == {
        *("count", "store.ratio", "store.enable"),
    }
    with pytest.raises(ConfigErrors, match="store: is 3; give a section with keys"):
        _WithStore.read({"store": 3})


def test_a_value_cannot_be_changed() -> None:
    settings = GridSettings(step_pct=Decimal("0.01"))
    with pytest.raises(ValueError, match="frozen"):
        settings.step_pct = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize("given", [True, None, [], "nan", "inf", "1,5", ""])
def test_a_number_is_a_number(given: object) -> None:
    with pytest.raises(ConfigErrors, match="base_order_size"):
        GridSettings.read({"step_pct": "0.01", "base_order_size": given})


@pytest.mark.parametrize(("given", "read"), [(False, False), ("false", False), ("true", True)])
def test_d55_a_switch_is_what_it_says(given: object, read: bool) -> None:
    assert GridSettings.read(
        {"step_pct": "0.01", "startup_rebalance": given}
    ).startup_rebalance is (read)


@pytest.mark.parametrize("given", ["no", "False", "", 0, 1, "0", None])
def test_d55_what_may_be_a_switch_or_not_is_refused(given: object) -> None:
    with pytest.raises(ConfigErrors, match="startup_rebalance"):
        GridSettings.read({"step_pct": "0.01", "startup_rebalance": given})


def test_keys_are_told_to_a_person() -> None:
    told = {item.name: item for item in keys(GridSettings)}
    assert [name for name in told if "." not in name] == list(GridSettings.model_fields)
    assert told["fee_rate"][1:5] == ("number", "fraction", "0.002", "at least 0 and less than 1")
    assert told["fee_rate"].aliases == ("total_fee_rate",)
    assert told["step_mode"].type == "'pct' or 'abs'"
    assert told["recenter_pct"].default == "none"
    assert all(item.meaning for item in told.values())


def test_a_required_key_has_no_default() -> None:
    class Small(Settings):
        size: Decimal = key(meaning="of an order", unit="base", gt=0)

    assert keys(Small)[0].default is None
    with pytest.raises(ConfigErrors, match="size: is required"):
        Small()


@pytest.mark.parametrize("name", names())
def test_every_strategy_says_what_it_can_be_told(name: str) -> None:
    kind = load(name)
    assert kind.name == name
    assert kind.settings_type.__doc__
    for item in keys(kind.settings_type):
        assert item.meaning.endswith("."), item.name
        plain_words = {"number", "whole number", "switch", "text", "section"}
        plain_words |= {"list of texts", "list of sections", "number for each name"}
        is_choice = "'" in item.type or item.type.replace(" or ", "").isdigit()
        assert item.type in plain_words or is_choice, item


def test_an_unknown_strategy_is_named_with_its_nearest() -> None:
    with pytest.raises(ConfigError, match="no strategy 'gird'; did you mean 'grid'"):
        load("gird")


def test_other_packages_offer_strategies(monkeypatch: pytest.MonkeyPatch) -> None:
    offers = [
        EntryPoint("theirs", "nkfast.strategies.grid:Grid", nkfast.strategies.GROUP),
        EntryPoint("broken", "nkfast.strategies.grid:Nothing", nkfast.strategies.GROUP),
        EntryPoint("twice", "a:A", nkfast.strategies.GROUP),
        EntryPoint("twice", "b:B", nkfast.strategies.GROUP),
    ]
    monkeypatch.setattr(
        nkfast.strategies, "entry_points", lambda **said: EntryPoints(offers).select(**said)
    )
    assert names()[-3:] == ("broken", "theirs", "twice")
    assert load("theirs") is Grid
    with pytest.raises(ConfigError, match="'broken' cannot be loaded"):
        load("broken")
    with pytest.raises(ConfigError, match="more than once"):
        load("twice")
