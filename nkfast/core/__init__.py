"""The compiled core: pure computation on integers, useful alone.

One module per noun: `fixed`, `market`, `signing`, `book`, `frame`, `matching`, `grid`,
`accumulation`, `cycles`.
No I/O, no clock, no logging, no configuration.
"""
