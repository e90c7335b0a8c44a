"""What an instance keeps: its files, and that modes share none of what they trade."""

from pathlib import Path

from nkfast.app.instance import Instance


def test_d15_pretended_orders_are_never_in_the_real_journal(tmp_path: Path) -> None:
    # In the reference a live start found the orders of a rehearsal, and placed none.
    bot = Instance.named("bot", tmp_path)
    journals = {bot.journal_of(mode) for mode in ("live", "paper", "monitor")}
    assert len(journals) == 3
    assert bot.journal == bot.journal_of("live")
    assert bot.newest_journal == bot.journal  # until a run has said another mode
