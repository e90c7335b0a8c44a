"""Configuration: files, variables and options become one checked `BotConfig`."""
