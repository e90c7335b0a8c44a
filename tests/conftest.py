"""What every test shares: which nkfast is tested, where the real market data lies."""

from pathlib import Path

import pytest

import nkfast

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_report_header() -> str:
    return f"nkfast {nkfast.__version__} from {Path(nkfast.__file__).parent}"


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recorded market data and market lists, which are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no recorded market data beside the project (../shared/data)")
    return SHARED_DATA
