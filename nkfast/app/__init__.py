"""Composition: the command line, screens, demo. The only room that knows everything."""
