"""The simulated exchange: accounts, matching, rules, traders, a server for HTTP and WebSocket.

Facts known about the real exchange that it does not have, and why:

* ``balanceUpdate`` comes at once and not about a second later: a simulation need not wait. The rule
  ``delay`` on ``balance`` of `nkfast.exchange.weather` brings the second back, ``blank`` the empty
  params that were seen.
* Pools are listed and have no trades: the API has no way to trade with one.
* Fees have one rate for each market: neither tiers by volume nor payment in NKYC
  (``alternateFee`` is null), whose rules are published nowhere.
* No report of the type ``update``: nothing changes an order but its fills and its end.
* No deposits and no withdrawals happen: their lists are empty, ``pending`` is 0, and withdrawing is
  refused with 20012. Money comes with an account.
* No asset has networks as children (``hasChildren`` is false), so that no error lists them.
* No row of a balance is ever missing: seen once, by accident of the real exchange.
* The proxy before it does not look at the User-Agent. What it sends instead of answers (pages with
  a 409, 502, 520, broken connections) is weather: ``html_before``, ``html_after``, ``reset_after``.
* A plain reply to subscribeReports and subscribeBalances, as one later fixture has it: the shapes
  are ``private_shape`` live and docs.
* The OpenAPI file is not served.

Options for what sources disagree about, each ``nkfast exchange serve --set NAME=VALUE`` unless it
says otherwise, beside the question of protocol.md section 5 that it answers:

=== ===========================================================================================
Q1  ``nonce_policy=`` off, unique, increasing; ``nonce_window_ms=``
Q2  none: every path can be upgraded; ``public_origins=`` for what clients sign
Q4  ``private_shape=docs``
Q5  ``book_time=iso``
Q6  ``cancel_returns_order=true``
Q7  ``cancel_all_needs_side=false``
Q8  ``filters_trades=true``
Q11 ``unknown_method_code=404``
Q13 ``--weather`` with the rules ``drop`` and ``reorder`` on ``book``
Q14 ``shows_assets=true``
Q17 ``market_buys_in=quote``
Q18 ``fee_decimals=8``; one number for all assets
Q19 ``self_trade=cancel_newest``
Q20 ``uniqueness=`` always, active, never; ``history_max=`` bounds what is remembered
Q23 ``--rate-limit``, ``connections_max=``, ``subscriptions_max=``
Q27 ``unauthorized_code=1001``
=== ===========================================================================================
"""
