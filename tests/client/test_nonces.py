import asyncio
import hashlib
import subprocess
import sys
import threading

import pytest

from nkfast.client import nonces
from nkfast.client.nonces import KeyNonces
from nkfast.errors import ConfigError, UnreachableError
from nkfast.exchange.server import ExchangeSettings, serve

T_NS = 1_790_000_000_000_000_000


@pytest.fixture(autouse=True)
def other_process(monkeypatch):
    """Forget what this process counted, as a new one would."""

    def forget():
        monkeypatch.setattr(nonces, "_counters", {})

    forget()
    return forget


def test_the_clock_in_the_unit_of_the_multiplier():
    assert KeyNonces("a", now_ns=lambda: T_NS).next() == 17_900_000_000_000
    assert KeyNonces("b", 1_000, now_ns=lambda: T_NS).next() == 1_790_000_000_000


def test_all_clients_of_a_key_share_a_counter():
    first, second, other = (KeyNonces(key, now_ns=lambda: T_NS) for key in ("a", "a", "b"))
    found = [source.next() for source in (first, second, first, second)]
    assert found == list(range(found[0], found[0] + 4))
    assert other.next() == found[0]


def test_a_key_has_one_multiplier():
    KeyNonces("a")
    with pytest.raises(ConfigError, match="10000"):
        KeyNonces("a", 1_000)


def test_threads_get_growing_nonces(tmp_path):
    source = KeyNonces("a", directory=tmp_path)
    found = [[] for _ in range(4)]

    def take(mine):
        mine.extend(source.next() for _ in range(300))

    threads = [threading.Thread(target=take, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in found)
    assert len({nonce for mine in found for nonce in mine}) == 1200


def test_a_restart_goes_on_though_the_clock_was_set_back(tmp_path, other_process):
    last = KeyNonces("a", directory=tmp_path, now_ns=lambda: T_NS).next()
    other_process()
    # The file may have lost what a minute wrote to it.
    source = KeyNonces("a", directory=tmp_path, now_ns=lambda: T_NS - 10**12)
    leap = nonces.LEAP_SECONDS * 10_000
    assert [source.next(), source.next()] == [last + leap + 1, last + leap + 2]
    other_process()
    # A smaller unit does not go back either.
    last, leap = last + leap + 2, nonces.LEAP_SECONDS * 1_000
    assert KeyNonces("a", 1_000, directory=tmp_path, now_ns=lambda: T_NS).next() == last + leap + 1


def test_a_leap_is_on_the_disk_before_it_is_used(tmp_path, other_process, monkeypatch):
    synced = []
    monkeypatch.setattr(nonces.os, "fsync", lambda descriptor: synced.append(descriptor))
    KeyNonces("a", directory=tmp_path, now_ns=lambda: T_NS).next()
    made = len(synced)  # the file and, but for Windows, its directory
    assert made == 1 if sys.platform == "win32" else made == 2
    for seconds, count in ((1, 0), (-1, 1), (-2, 1)):
        other_process()
        source = KeyNonces("a", directory=tmp_path, now_ns=lambda s=seconds: T_NS + s * 10**9)
        del synced[:]
        source.next()
        source.next()
        assert len(synced) == count


def test_a_new_file_holds_a_number_at_once(tmp_path):
    KeyNonces("a", directory=tmp_path)
    [file] = tmp_path.iterdir()
    assert file.read_bytes() == b"0" * 19 + b"\n"


def test_the_key_is_kept_only_as_a_digest(tmp_path):
    KeyNonces("the-api-key", directory=tmp_path / "state").next()
    [file] = (tmp_path / "state").iterdir()
    assert "the-api-key" not in file.name and b"the-api-key" not in file.read_bytes()
    assert len(file.name) >= hashlib.sha256().digest_size * 2
    assert "the-api-key" not in repr(nonces._counters)
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"17", b"x" * 19 + b"\n", b"1" * 20 + b"\n", b"\n" * 20])
def test_a_file_that_holds_something_else_is_not_guessed_at(tmp_path, content):
    source = KeyNonces("a", directory=tmp_path)
    source.next()
    [file] = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="remove it"):
        source.next()
    file.write_bytes(b"%019d\n" % T_NS)
    assert source.next() == T_NS + 1


def test_a_directory_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be used"):
        KeyNonces("a", directory=tmp_path / "file")


def test_a_process_that_keeps_the_lock_stops_nobody_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(nonces, "LOCK_SECONDS_MAX", 0.02)
    source, holder = (KeyNonces("a", directory=tmp_path) for _ in range(2))
    descriptor = holder._file._descriptor
    assert nonces._try_lock(descriptor)
    with pytest.raises(UnreachableError, match="another process") as caught:
        source.next()
    assert caught.value.sent == "no"
    nonces._unlock(descriptor)
    source.next()


PROCESS = """
import sys
from pathlib import Path
from nkfast.client.nonces import KeyNonces
source = KeyNonces("a", directory=Path(sys.argv[1]), now_ns=lambda: int(sys.argv[2]))
for line in sys.stdin:
    print(*[source.next() for _ in range(int(line))], flush=True)
"""


def start(directory, now_ns):
    command = [sys.executable, "-P", "-c", PROCESS, str(directory), str(now_ns)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_in_turn_get_growing_nonces(tmp_path):
    # The second one's clock is an hour behind.
    with start(tmp_path, T_NS) as first, start(tmp_path, T_NS - 3600 * 10**9) as second:
        found = []
        for process in (second, first, second, first, second, second):
            process.stdin.write("3\n")
            process.stdin.flush()
            found += map(int, process.stdout.readline().split())
        for process in (first, second):
            process.stdin.close()
    assert found == sorted(set(found)) and len(found) == 18


def test_processes_at_once_get_different_nonces(tmp_path):
    processes = [start(tmp_path, T_NS) for _ in range(3)]
    for process in processes:
        process.stdin.write("400\n")
        process.stdin.close()
    found = [[*map(int, process.stdout.read().split())] for process in processes]
    for process in processes:
        process.stdout.close()
        assert process.wait(30) == 0
    assert all(mine == sorted(mine) for mine in found)
    assert len({nonce for mine in found for nonce in mine}) == 1200


FORK = """
import os, sys
from pathlib import Path
from nkfast.client import nonces
source = nonces.KeyNonces("a", directory=Path(sys.argv[1]))
before = source.next()
descriptor = source._file._descriptor
child = os.fork()
if child == 0:
    source.next()
    os._exit(0 if source._file._descriptor != descriptor else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert source.next() > before + 1
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_fork_takes_a_lock_of_its_own(tmp_path):
    command = [sys.executable, "-P", "-c", FORK, str(tmp_path)]
    subprocess.run(command, check=True, timeout=30)


CLIENT = """
import sys
from pathlib import Path
from nkfast import ApiCredentials, KeyNonces, RestClient
url, key, secret, directory, now_ns = sys.argv[1:]
nonces = KeyNonces(key, directory=Path(directory), now_ns=lambda: int(now_ns))
with RestClient(ApiCredentials(key, secret), base_url=url, nonces=nonces, attempts=1) as client:
    for line in sys.stdin:
        print(len(client.get_balances()) > 0, flush=True)
"""


async def test_clients_of_several_processes_satisfy_an_exchange_that_wants_growing_nonces(tmp_path):
    settings = ExchangeSettings(speed=0.0, nonce_policy="increasing")

    def take_turns(url):
        command = [sys.executable, "-P", "-c", CLIENT, url, settings.key, settings.secret]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        late = str(T_NS - 3600 * 10**9)
        with (
            subprocess.Popen([*command, str(tmp_path), str(T_NS)], **pipes) as first,
            subprocess.Popen([*command, str(tmp_path), late], **pipes) as second,
        ):
            for process in (first, second, first, first, second, second, first):
                process.stdin.write("\n")
                process.stdin.flush()
                yield process.stdout.readline()
            first.stdin.close()
            second.stdin.close()

    async with serve(settings) as there:
        answers = await asyncio.to_thread(lambda: [*take_turns(there.rest_url)])
    assert answers == ["True\n"] * 7
