import os
import subprocess
import sys

import pytest

from nkfast.client import _picows, listener
from nkfast.client.listener import PythonListener


def test_the_compiled_listener_is_the_one_in_use():
    assert listener.Listener is _picows.Listener


FAILURES = {
    "missing": "sys.modules['nkfast.client._picows'] = None",
    "layout": "warn('picows.picows.WSFrame size changed, may indicate binary incompatibility')",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_the_python_listener_takes_over_when_the_compiled_one_cannot_load(failure):
    code = f"""
import importlib.abc, importlib.util, sys, warnings

def warn(text):
    class Loader(importlib.abc.Loader):
        def exec_module(self, module):
            warnings.warn(text, RuntimeWarning)
            module.Listener = object
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "nkfast.client._picows":
                return importlib.util.spec_from_loader(name, Loader())
    sys.meta_path.insert(0, Finder())

{FAILURES[failure]}
from nkfast.client import listener
assert listener.Listener is listener.PythonListener
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env=environment)


def test_both_listeners_offer_the_same():
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    made = PythonListener(object())
    assert public(listener.Listener) == public(PythonListener) | {
        name for name in vars(made) if not name.startswith("_")
    }
