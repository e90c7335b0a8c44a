"""One strategy a file; pure: no I/O, no clock reads, no randomness that is not handed in."""
