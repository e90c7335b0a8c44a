"""Short programs to read, run and start from; each by ``python -m nkfast.examples.<name> --help``.

They use the public names of `nkfast` only, and none of them changes anything at the exchange.
"""
