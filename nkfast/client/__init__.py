"""Sockets: the REST and WebSocket clients, the throttle, the clock of the server."""
