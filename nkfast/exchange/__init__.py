"""The simulated exchange: accounts, matching, rules, traders, and a server for HTTP and WebSocket."""
