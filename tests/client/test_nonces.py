import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest
from client.rest_clients import KEY

from nkfast.client import nonces
from nkfast.client.nonces import KeyNonces
from nkfast.client.rest import RestClient
from nkfast.errors import ConfigError
from nkfast.exchange.server import ExchangeSettings, serve

T_NS = 1_790_000_000_000_000_000


@pytest.fixture
def other_process():
    """Forget what this process counted, as a new one would."""
    return nonces._counters.clear


def test_the_clock_in_the_unit_of_the_multiplier():
    alone = {"is_shared": False, "now_ns": lambda: T_NS}
    assert KeyNonces("a", **alone).next() == 17_900_000_000_000
    assert KeyNonces("b", 1_000, **alone).next() == 1_790_000_000_000


def test_all_clients_of_a_key_share_a_counter():
    keys = ("a", "a", "b")
    first, second, other = (KeyNonces(key, is_shared=False, now_ns=lambda: T_NS) for key in keys)
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


def test_clients_meet_in_the_users_directory_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    KeyNonces("a").next()
    [file] = (tmp_path / "home" / "nonces").iterdir()
    assert file.stat().st_size == 16
    KeyNonces("b", is_shared=False).next()
    KeyNonces("c", directory=tmp_path / "elsewhere").next()
    assert [*(tmp_path / "home" / "nonces").iterdir()] == [file]
    with pytest.raises(ConfigError, match="directory must be left out"):
        KeyNonces("d", directory=tmp_path, is_shared=False)


def test_a_key_is_counted_in_one_place(tmp_path):
    KeyNonces("a", directory=tmp_path / "one")
    for elsewhere in ({"directory": tmp_path / "two"}, {"is_shared": False}):
        with pytest.raises(ConfigError, match="must not count them"):
            KeyNonces("a", **elsewhere)


def test_a_client_counts_with_all_processes_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path))
    RestClient(base_url="http://127.0.0.1:1").close()
    RestClient(KEY, base_url="http://127.0.0.1:1", basic_auth=True).close()
    assert not [*tmp_path.iterdir()]  # neither needs any
    RestClient(KEY, base_url="http://127.0.0.1:1").close()
    assert len([*(tmp_path / "nonces").iterdir()]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be cut there")
def test_making_the_file_again_takes_nothing_back(tmp_path):
    # Two processes that start at once: the second one looked before the first had made the file.
    path = tmp_path / "x.nonce"
    first = nonces._mapped(path)
    first[8:] = (17).to_bytes(8, sys.byteorder)
    assert nonces._mapped(path)[8:] == first[8:]
    # Stopped between the two steps of making it.
    first[:8] = bytes(8)
    assert nonces._mapped(path)[:] == first[:] and first[:8] == nonces._MAGIC


def test_the_key_is_kept_only_as_a_digest(tmp_path):
    KeyNonces("the-api-key", directory=tmp_path / "state").next()
    [file] = (tmp_path / "state").iterdir()
    assert "the-api-key" not in file.name and b"the-api-key" not in file.read_bytes()
    assert len(file.name) >= hashlib.sha256().digest_size * 2
    assert "the-api-key" not in repr(nonces._counters)
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be overwritten there")
@pytest.mark.parametrize("content", [b"17", b"%019d\n" % T_NS, b"x" * 16, b"\n" * 20])
def test_a_file_that_holds_something_else_is_not_guessed_at(tmp_path, content, other_process):
    source = KeyNonces("a", directory=tmp_path)
    source.next()
    [file] = tmp_path.iterdir()
    good = file.read_bytes()
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="remove it"):
        source.next()
    other_process()
    with pytest.raises(ConfigError, match="remove it") as caught:
        KeyNonces("a", directory=tmp_path)
    assert str(file) in str(caught.value)
    file.write_bytes(good)
    assert KeyNonces("a", directory=tmp_path).next() > int.from_bytes(good[8:], sys.byteorder)


@pytest.mark.parametrize("number", [-1, 2**62 + 1])
def test_a_number_that_is_no_nonce_is_refused(tmp_path, number):
    path = tmp_path / "x.nonce"
    path.write_bytes(nonces._MAGIC + number.to_bytes(8, sys.byteorder, signed=True))
    with pytest.raises(ConfigError, match="holds no nonce"):
        nonces._mapped(path)


def test_a_directory_that_cannot_be_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="is_shared=False") as caught:
        KeyNonces("a", directory=tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)
    assert not nonces._counters


def test_a_home_that_cannot_be_written_to_is_refused_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match="is_shared=False") as caught:
        RestClient(KEY, base_url="http://127.0.0.1:1")
    assert str(tmp_path / "file" / "home") in str(caught.value)
    alone = KeyNonces(KEY.api_key, is_shared=False)
    RestClient(KEY, base_url="http://127.0.0.1:1", nonces=alone).close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_a_thing_that_cannot_be_mapped_is_refused(tmp_path):
    path = tmp_path / "x.nonce"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="cannot be used"):
        nonces._mapped(path)


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
        process.stdin.write("5000\n")
        process.stdin.close()
    found = [[*map(int, process.stdout.read().split())] for process in processes]
    for process in processes:
        process.stdout.close()
        assert process.wait(30) == 0
    assert all(mine == sorted(mine) for mine in found)
    assert len({nonce for mine in found for nonce in mine}) == 15_000


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be stopped there")
def test_a_process_that_is_stopped_stops_nobody(tmp_path):
    code = PROCESS + "while True: source.next()\n"
    command = [sys.executable, "-P", "-c", code, str(tmp_path), str(T_NS)]
    source = KeyNonces("a", directory=tmp_path, now_ns=lambda: T_NS)
    source.next()
    found = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as busy:
        for _ in range(50):
            before = source.next()
            while source.next() == before + 1:  # until it is seen to take some
                before += 1
                assert busy.poll() is None
            busy.send_signal(signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(busy.pid, os.WUNTRACED)[1])
            found += [source.next(), source.next()]
            busy.send_signal(signal.SIGCONT)
        busy.kill()
    assert found == sorted(set(found)) and len(found) == 100


FORK = """
import os, sys
from pathlib import Path
from nkfast.client.nonces import KeyNonces
source = KeyNonces("a", directory=Path(sys.argv[1]))
source.next()
there, here = os.pipe()
child = os.fork()
found = [source.next() for _ in range(2000)]
if child == 0:
    os.write(here, b"%d %d" % (len(set(found)), found[-1]))
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
count, last = map(int, os.read(there, 100).split())
assert count == len(set(found)) == 2000
assert source.next() > max(last, found[-1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_needs_no_care(tmp_path):
    command = [sys.executable, "-P", "-c", FORK, str(tmp_path)]
    subprocess.run(command, check=True, timeout=30)


CLIENT = """
import sys
from nkfast import ApiCredentials, KeyNonces, RestClient
url, key, secret, now_ns = sys.argv[1:]
nonces = KeyNonces(key, now_ns=lambda: int(now_ns))
with RestClient(ApiCredentials(key, secret), base_url=url, nonces=nonces, attempts=1) as client:
    for line in sys.stdin:
        print(len(client.get_balances()) > 0, flush=True)
"""


async def test_clients_of_several_processes_satisfy_an_exchange_that_wants_growing_nonces():
    settings = ExchangeSettings(speed=0.0, nonce_policy="increasing")

    def take_turns(url):
        command = [sys.executable, "-P", "-c", CLIENT, url, settings.key, settings.secret]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        late = str(T_NS - 3600 * 10**9)
        with (
            subprocess.Popen([*command, str(T_NS)], **pipes) as first,
            subprocess.Popen([*command, late], **pipes) as second,
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
