"""The garbage collector is kept from what stays."""

import gc

from nkfast.app.garbage import spare_what_stays


def test_what_exists_is_looked_at_no_more_and_what_follows_is() -> None:
    gc.unfreeze()
    stays = [[n] for n in range(1_000)]
    try:
        spare_what_stays()
        assert gc.get_freeze_count() >= 1_000
        assert not any(item is stays for item in gc.get_objects())
        follows = [stays]
        assert any(item is follows for item in gc.get_objects())
    finally:
        gc.unfreeze()
    assert gc.get_freeze_count() == 0
