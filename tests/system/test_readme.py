"""The front page names every room. What it prints is run by test_documents.py."""

from pathlib import Path


def test_every_room_of_the_package_is_in_the_table(root: Path) -> None:
    text = (root / "README.md").read_text()
    for room in (root / "nkfast").glob("*/__init__.py"):
        assert f"| `nkfast.{room.parent.name}` |" in text
