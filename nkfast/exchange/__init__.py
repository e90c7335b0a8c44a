"""The simulated exchange: accounts, matching, rules, traders, a server for HTTP and WebSocket.

Facts known about the real exchange that it does not have, and why:

* ``balanceUpdate`` comes at once and not about a second later: a simulation need not wait. The rule
  ``delay`` on ``balance`` of `nkfast.exchange.weather` brings the second back, ``blank`` the empty
  params that were seen.
* Pools are listed and have no trades: the API has no way to trade with one.
* Fees have one rate for each market: neither tiers by volume nor payment in NKYC
  (``alternateFee`` is null), whose rules are published nowhere.
* No report of the type ``update``: nothing changes an order but its fills and its end.
"""
