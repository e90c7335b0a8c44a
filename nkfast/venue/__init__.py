"""Where bytes and time are real or pretended: one port, several venues, two clocks."""
