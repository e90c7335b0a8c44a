"""The life of an order: the same news in any sequence ends in the same state."""

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.errors import ConfigError, OrderError
from nkfast.trading.orders import (
    MARKS,
    TRANSITIONS,
    IdSource,
    Order,
    OrderState,
    OrderStore,
    Outcome,
    instance_code,
    parse_client_id,
)
from nkfast.venue.port import Execution, OrderUpdate, VenueStatus

QUANTITY = Decimal(10)


def an_order(client_id: str = "c1", slot: str = "level-1") -> Order:
    return Order(client_id, slot, "BTC/USDT", "buy", Decimal(100), QUANTITY)


def an_update(
    status: VenueStatus, executed: object = 0, execution: Execution | None = None, **changes: object
) -> OrderUpdate:
    update = OrderUpdate(
        "c1",
        "o1",
        "BTC/USDT",
        "buy",
        Decimal(100),
        QUANTITY,
        Decimal(str(executed)),
        status,
        execution,
    )
    return replace(update, **changes)


def a_fill(trade_id: str, quantity: object, fee: object | None = "0.1") -> Execution:
    known = None if fee is None else Decimal(str(fee))
    return Execution(
        trade_id,
        "o1",
        None,
        "BTC/USDT",
        "buy",
        Decimal(100),
        Decimal(str(quantity)),
        known,
        "USDT",
        True,
        1,
    )


def tell(order: Order, news: OrderUpdate | Execution | Outcome) -> None:
    """Hear one piece of news and apply what it adds."""
    if isinstance(news, OrderUpdate):
        heard = order.hear_update(news)
    elif isinstance(news, Execution):
        heard = order.hear_execution(news)
    else:
        heard = order.hear_outcome(news)
    if heard is not None:
        order.apply(heard)


def everything_known(order: Order) -> tuple[object, ...]:
    return order.state, order.facts, dict(order.fills), order.filled


OPEN, PARTLY, CANCELLED = VenueStatus.OPEN, VenueStatus.PARTLY_FILLED, VenueStatus.CANCELLED


@pytest.mark.parametrize(
    ("news", "state"),
    [
        ([], OrderState.SENDING),
        ([Outcome.UNKNOWN], OrderState.UNKNOWN),
        ([Outcome.REJECTED], OrderState.REJECTED),
        ([Outcome.UNKNOWN, Outcome.ABANDONED], OrderState.ABANDONED),
        ([an_update(OPEN)], OrderState.LIVE),
        ([an_update(VenueStatus.UNKNOWN)], OrderState.LIVE),
        ([Outcome.UNKNOWN, an_update(OPEN)], OrderState.LIVE),
        ([Outcome.REJECTED, an_update(OPEN)], OrderState.LIVE),
        ([Outcome.UNKNOWN, Outcome.ABANDONED, an_update(OPEN)], OrderState.LIVE),
        ([an_update(CANCELLED)], OrderState.DONE),
        ([an_update(VenueStatus.REJECTED)], OrderState.REJECTED),
        ([an_update(CANCELLED, 4)], OrderState.CLOSING),
        ([an_update(CANCELLED, 4), a_fill("t1", 4)], OrderState.DONE),
        ([an_update(VenueStatus.FILLED)], OrderState.CLOSING),
        ([an_update(VenueStatus.FILLED), a_fill("t1", 10)], OrderState.DONE),
        ([a_fill("t1", 3)], OrderState.LIVE),
        ([a_fill("t1", 3), a_fill("t2", 7)], OrderState.DONE),
        ([an_update(CANCELLED, 4), a_fill("t1", 4), an_update(OPEN)], OrderState.DONE),
        ([an_update(CANCELLED, 4), a_fill("t1", 4), an_update(PARTLY, 6)], OrderState.CLOSING),
    ],
)
def test_state_follows_from_what_is_known(news: list[object], state: OrderState) -> None:
    order = an_order()
    for item in news:
        tell(order, item)
    assert order.state is state


#: Everything that can be told of an order, in few sizes: the alphabet of the walk below.
TOLD: list[object] = [
    *(Outcome),
    *(
        an_update(status, executed)
        for status in VenueStatus
        for executed in (0, 4, 10)
        if not (status is VenueStatus.FILLED and executed == 4)
    ),
    a_fill("t1", 4),
    a_fill("t2", 6),
    "vanished",
    "wish",
]
#: The picture of the module once more: what may follow, told by hand.
PICTURE = {
    "sending": "unknown live closing done rejected",
    "unknown": "live closing done rejected abandoned",
    "live": "closing done rejected",
    "closing": "done",
    "done": "closing",
    "rejected": "live closing done",
    "abandoned": "live closing done rejected",
}


def replayed(told: tuple[int, ...]) -> tuple[Order, OrderState]:
    """Tell a new order everything; return it and the state before the last word."""
    order, before = an_order(), OrderState.SENDING
    for index in told:
        item, before = TOLD[index], order.state
        try:
            if item == "vanished":
                order.apply(order.hear_vanished())
            elif item == "wish":
                news = order.hear_cancel_wish()
                order.apply(news) if news is not None else None
            else:
                tell(order, item)
        except OrderError:
            pass  # refused: nothing has changed
    return order, before


def test_walking_every_way_takes_exactly_the_steps_of_the_picture() -> None:
    # From each distinct knowledge on, everything is told once more, until nothing new is reached.
    reached: dict[object, tuple[int, ...]] = {}
    steps: set[tuple[str, str]] = set()
    waiting: list[tuple[int, ...]] = [()]
    while waiting:
        way = waiting.pop()
        for index in range(len(TOLD)):
            order, before = replayed((*way, index))
            if order.state is not before:
                steps.add((before.value, order.state.value))
            known = (order.state, order.facts, order.filled, frozenset(order.fills))
            if known not in reached:
                reached[known] = (*way, index)
                waiting.append((*way, index))
    assert len(reached) > 200
    assert steps == {(a, b) for a, row in PICTURE.items() for b in row.split()}
    assert {a: {b.value for b in row} for a, row in TRANSITIONS.items()} == {
        a: set(row.split()) for a, row in PICTURE.items()
    }


def test_a_state_that_cannot_follow_is_refused() -> None:
    order = an_order()
    tell(order, an_update(OPEN))
    order.state = OrderState.DONE  # as if our own books were wrong
    with pytest.raises(OrderError, match="is done and cannot take a move to live"):
        order.hear_update(an_update(PARTLY, 4))


def test_all_orders_of_six_messages_end_alike() -> None:
    messages = [
        Outcome.UNKNOWN,
        an_update(OPEN),
        an_update(PARTLY, 3, a_fill("t1", 3)),
        an_update(CANCELLED, 5),
        a_fill("t1", 3, None),
        a_fill("t2", 2),
    ]
    outcomes = set()
    for permutation in itertools.permutations(messages):
        order = an_order()
        for message in permutation:
            tell(order, message)
        state, facts, fills, filled = everything_known(order)
        outcomes.add((state, facts, tuple(sorted(fills.items())), filled))
    assert len(outcomes) == 1
    assert order.state is OrderState.DONE
    assert order.filled == 5
    assert order.fills["t1", "o1"].fee == Decimal("0.1")


def _fill_of(index: int, has_fee: bool, fee: int) -> Execution:
    return a_fill(f"t{index}", index + 1, Decimal(fee) / 10 if has_fee else None)


# Trades t0..t3 of 1..4 lots add up to 10, the quantity: every subset is possible.
fills = st.builds(_fill_of, st.integers(0, 3), st.booleans(), st.integers(0, 2))
updates = st.builds(
    an_update,
    st.sampled_from(list(VenueStatus)),
    st.integers(0, 10),
    st.one_of(st.none(), fills),
)
outcomes = st.sampled_from([Outcome.UNKNOWN, Outcome.REJECTED])


@given(st.lists(st.one_of(fills, updates, outcomes), max_size=12), st.randoms())
def test_news_is_a_set(news: list[object], random: object) -> None:
    first, second = an_order(), an_order()
    for item in news:
        tell(first, item)
    shuffled = news + news[: len(news) // 2]
    random.shuffle(shuffled)
    for item in shuffled:
        tell(second, item)
    assert everything_known(first) == everything_known(second)


@given(st.lists(st.one_of(fills, updates, outcomes), max_size=12))
def test_news_never_lowers_anything(news: list[object]) -> None:
    order = an_order()
    for item in news:
        before_executed, before_fills = order.executed, set(order.fills)
        was_final = order.facts.final is not None
        tell(order, item)
        assert order.executed >= before_executed
        assert set(order.fills) >= before_fills
        assert order.facts.final is not None or not was_final
        assert order.filled == sum(fill.quantity for fill in order.fills.values())


@given(st.lists(st.one_of(fills, updates, outcomes), max_size=12))
def test_old_news_is_no_news(news: list[object]) -> None:
    order = an_order()
    for item in news:
        tell(order, item)
    for item in news:
        if isinstance(item, OrderUpdate):
            assert order.hear_update(item) is None
        elif isinstance(item, Execution):
            assert order.hear_execution(item) is None
        else:
            assert order.hear_outcome(item) is None


def test_hearing_changes_nothing() -> None:
    order = an_order()
    news = order.hear_update(an_update(PARTLY, 3, a_fill("t1", 3)))
    assert news is not None
    assert news.state is OrderState.LIVE
    assert order.state is OrderState.SENDING
    assert not order.fills
    order.apply(news)
    assert order.state is OrderState.LIVE
    assert order.remaining == 7


@pytest.mark.parametrize(
    "update",
    [
        an_update(OPEN, client_id="c2"),
        an_update(OPEN, symbol="ETH/USDT"),
        an_update(OPEN, side="sell"),
        an_update(OPEN, price=Decimal(101)),
        an_update(OPEN, quantity=Decimal(9)),
        an_update(OPEN, executed=Decimal(11)),
        an_update(OPEN, 0, replace(a_fill("t1", 1), symbol="ETH/USDT")),
        an_update(OPEN, 0, replace(a_fill("t1", 1), side="sell")),
        an_update(OPEN, 0, a_fill("t1", 11)),
        an_update(OPEN, 0, a_fill("t1", 0)),
    ],
)
def test_news_of_another_order_is_refused(update: OrderUpdate) -> None:
    order = an_order()
    with pytest.raises(OrderError):
        order.hear_update(update)
    assert order.state is OrderState.SENDING


def test_an_order_has_one_id_and_a_trade_one_content() -> None:
    order = an_order()
    tell(order, an_update(OPEN))
    tell(order, a_fill("t1", 3))
    with pytest.raises(OrderError):
        order.hear_update(an_update(OPEN, order_id="o2"))
    with pytest.raises(OrderError):
        order.hear_execution(a_fill("t1", 4))
    with pytest.raises(OrderError):
        order.hear_execution(replace(a_fill("t2", 1), order_id="o2"))


def test_fills_cannot_exceed_the_quantity() -> None:
    order = an_order()
    tell(order, a_fill("t1", 6))
    with pytest.raises(OrderError):
        order.hear_execution(a_fill("t2", 5))


def test_only_an_unknown_order_can_be_abandoned() -> None:
    order = an_order()
    with pytest.raises(OrderError):
        order.hear_outcome(Outcome.ABANDONED)
    tell(order, an_update(OPEN))
    with pytest.raises(OrderError):
        order.hear_outcome(Outcome.ABANDONED)


def test_only_a_resting_order_can_vanish() -> None:
    order = an_order()
    with pytest.raises(OrderError):
        order.hear_vanished()
    tell(order, an_update(PARTLY, 3))
    order.apply(order.hear_vanished())
    assert order.state is OrderState.CLOSING
    with pytest.raises(OrderError):
        order.hear_vanished()


def test_the_larger_fee_stands() -> None:
    order = an_order()
    for fee in (None, "0.1", "0.3", "0.2", None):
        tell(order, a_fill("t1", 3, fee))
    assert order.fills["t1", "o1"].fee == Decimal("0.3")


# Ids -------------------------------------------------------------------------------------------


@given(
    st.text(min_size=1),
    st.integers(0, 32**5 - 1),
    st.integers(0, MARKS - 1),
    st.integers(1, 5),
)
def test_ids_say_who_made_them(instance: str, boot: int, mark: int, count: int) -> None:
    source = IdSource(instance, boot, mark)
    ids = [source.next() for _ in range(count)]
    for number, text in enumerate(ids, 1):
        assert len(text) == 25
        assert text.isascii()
        assert text == text.lower()
        assert text.isalnum()
        assert parse_client_id(text) == (instance_code(instance), boot, mark, number)
        assert source.owns(text) is not None
    assert len(set(ids)) == count
    assert sorted(ids) == ids


def test_a_short_instance_stands_for_itself() -> None:
    assert instance_code("nk01") == "nk01"
    assert IdSource("nk01", 1).next().startswith("nknk0100001")
    assert len(instance_code("grid-main")) == 4
    assert instance_code("grid-main") != instance_code("grid-mair")
    with pytest.raises(ConfigError):
        instance_code("")


def test_a_start_of_another_journal_is_not_known() -> None:
    ids = IdSource("nk01", 2, 7, {1: 5, 2: 7})
    for boot, mark, is_known in [(1, 5, True), (2, 7, True), (1, 7, False), (3, 7, False)]:
        made_by = ids.owns(IdSource("nk01", boot, mark).next())
        assert made_by is not None
        assert ids.knows_start(made_by) is is_known


def test_another_instance_is_not_us() -> None:
    assert IdSource("aaaa", 1).owns(IdSource("bbbb", 1).next()) is None


@pytest.mark.parametrize("text", ["", "nk", "web-order-1", "5f1d2c3b4a596877869504a3", "x" * 25])
def test_foreign_ids_are_not_ours(text: str) -> None:
    assert parse_client_id(text) is None


def test_every_wrong_character_and_every_swap_is_found() -> None:
    text = IdSource("nk01", 77).next()
    for place in range(2, 25):
        for digit in "0123456789abcdefghjkmnpqrstvwxyz":
            if digit != text[place]:
                assert parse_client_id(text[:place] + digit + text[place + 1 :]) is None
        if place < 22 and text[place] != text[place + 1]:
            swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
            assert parse_client_id(swapped) is None


# Slots -----------------------------------------------------------------------------------------


def test_a_slot_never_has_two_live_orders() -> None:
    store = OrderStore()
    first = an_order("c1")
    store.add(first)
    with pytest.raises(OrderError):
        store.add(an_order("c2"))
    with pytest.raises(OrderError):
        store.add(an_order("c1", "level-2"))
    store.apply(first.hear_outcome(Outcome.REJECTED))
    store.add(an_order("c2"))
    assert store.at_slot("level-1").client_id == "c2"


def test_a_zombie_has_no_slot() -> None:
    store = OrderStore()
    first = an_order("c1")
    store.add(first)
    store.apply(first.hear_outcome(Outcome.REJECTED))
    second = an_order("c2")
    store.add(second)
    store.apply(first.hear_update(an_update(OPEN)))
    assert store.zombies == [first]
    assert store.at_slot("level-1") is second
    assert store.open_count == 2
    assert store.find(None, "o1") is first
    store.apply(first.hear_update(an_update(CANCELLED)))
    assert store.zombies == []
    assert store.at_slot("level-1") is second


def test_an_order_of_the_past_may_be_a_zombie_from_the_start() -> None:
    store = OrderStore()
    newer, older = an_order("c2"), an_order("c1")
    store.adopt(newer)
    store.adopt(older)
    assert store.at_slot("level-1") is newer
    assert store.zombies == [older]
    with pytest.raises(OrderError):
        store.adopt(an_order("c1"))


def test_finished_orders_are_kept_for_late_news_up_to_a_limit() -> None:
    store = OrderStore(finished_limit=2)
    for number in range(4):
        order = an_order(f"c{number}")
        store.add(order)
        store.apply(order.hear_outcome(Outcome.REJECTED))
    assert [order.client_id for order in store] == ["c2", "c3"]
    assert store.open_count == 0
