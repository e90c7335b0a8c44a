"""What every test shares: which nkfast is tested, where the real market data lies."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

import nkfast
from nkfast.client import nonces

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# A busy machine is not a failure, and a failure says how to have it again.
settings.register_profile("nkfast", deadline=None, print_blob=True)
settings.load_profile("nkfast")


def pytest_addoption(parser: pytest.Parser) -> None:
    loops = ("asyncio", "uvloop", "winloop")
    parser.addoption("--loop", choices=loops, default="asyncio", help="what runs async tests")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    name = config.getoption("--loop")
    return {name: import_module(name).new_event_loop}


def pytest_report_header(config: pytest.Config) -> str:
    place = Path(nkfast.__file__).parent
    return f"nkfast {nkfast.__version__} from {place}, on {config.getoption('--loop')}"


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # Also for the processes that tests start: nothing is ever written into the user's own place.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NKFAST_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _nothing_counted_yet() -> None:
    # Each test may keep the nonces of one key elsewhere, as processes of their own might.
    nonces._counters.clear()


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
