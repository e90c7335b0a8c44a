"""The simulated exchange: accounts, matching, rules, traders, a server for HTTP and WebSocket."""
