import threading

import pytest

from nkfast.client.throttle import DEFAULT_RATES, Rate, Throttle
from nkfast.errors import ConfigError


def test_a_burst_goes_at_once_and_the_rest_at_the_rate():
    throttle = Throttle({"orders": Rate(2.0, 3)})
    times = [throttle.reserve("orders", 1000.0) for _ in range(6)]
    assert [max(time, 1000.0) for time in times] == [1000, 1000, 1000, 1000.5, 1001, 1001.5]


def test_an_idle_bucket_fills_to_the_burst_and_no_further():
    throttle = Throttle({"orders": Rate(2.0, 3)})
    for _ in range(3):
        throttle.reserve("orders", 1000.0)
    times = [throttle.reserve("orders", 1100.0) for _ in range(4)]
    assert max(times[:3]) <= 1100 and times[3] == 1100.5


def test_cancels_do_not_wait_behind_orders():
    throttle = Throttle({"orders": Rate(1.0, 1), "cancels": Rate(1.0, 1)})
    for _ in range(100):
        throttle.reserve("orders", 50.0)
    throttle.pause("orders", 110.0, 50.0)
    assert throttle.reserve("cancels", 50.0) <= 50
    assert throttle.paused_until("cancels", 50.0) < 50


def test_a_pause_can_grow_but_takes_nothing_back():
    throttle = Throttle({})
    assert throttle.paused_until("public", 1.0) <= 1
    for until, expected in ((5.0, 5), (2.0, 5), (9.0, 9)):
        throttle.pause("public", until, 1.0)
        assert throttle.paused_until("public", 1.0) == expected


def test_a_place_is_taken_only_when_there_is_one():
    throttle = Throttle({"orders": Rate(2.0, 2)})
    assert [throttle.take("orders", 10.0) for _ in range(4)] == [0, 0, 0.5, 0.5]
    assert throttle.wait("orders", 10.25) == 0.25
    assert [throttle.take("orders", 10.5), throttle.take("orders", 10.5)] == [0, 0.5]
    throttle.pause("orders", 13.0, 10.5)
    assert throttle.take("orders", 12.0) == throttle.wait("orders", 12.0) == 1.0
    assert throttle.take("orders", 13.0) == 0
    assert throttle.take("public", 13.0) == throttle.wait("public", 13.0) == 0


def test_a_time_of_before_the_machine_was_started_is_forgotten():
    throttle = Throttle({"orders": Rate(1.0, 1)})
    for _ in range(100):
        throttle.reserve("orders", 1e6)
    throttle.pause("orders", 1e6 + 50, 1e6)
    assert throttle.take("orders", 5.0) == 0
    assert throttle.take("orders", 5.0) == 1


def test_a_class_without_a_rate_is_not_limited():
    throttle = Throttle({})
    assert {throttle.reserve("public", 7.0) for _ in range(1000)} == {7.0}


def test_threads_take_different_places():
    throttle = Throttle({"public": Rate(1.0, 1)})
    found = []

    def take():
        for _ in range(500):
            found.append(throttle.reserve("public", 0.0))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(2000))


def test_every_class_has_a_default():
    assert set(DEFAULT_RATES) == {"public", "private", "orders", "cancels"}


@pytest.mark.parametrize("rate", [Rate(0.0, 1), Rate(-1.0, 1), Rate(1.0, 0), Rate(float("nan"), 1)])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ConfigError):
        Throttle({"orders": rate})
