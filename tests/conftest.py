"""What every test shares: which nkfast is tested, where the real market data lies."""

from pathlib import Path

import pytest
from hypothesis import settings

import nkfast

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# A busy machine is not a failure, and a failure says how to have it again.
settings.register_profile("nkfast", deadline=None, print_blob=True)
settings.load_profile("nkfast")


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
