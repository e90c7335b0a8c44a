"""NonKYC's language without sockets: endpoints, models, codec, symbols, session."""
