"""How cycles are searched elsewhere: a Python loop over an index, numpy, networkx.

All of them are given the rates of the best prices, fees included, and the cycles already listed
where they can use that. None of them looks at depth, lots or minimums.
"""

from collections.abc import Sequence

import networkx
import numpy as np

__all__ = ["NetworkxSearch", "NumpyScan", "PythonIndex"]

Arc = tuple[str, str]  # from asset, to asset


class PythonIndex:
    """Cycles of three and four under each of their arcs, and rates in a dict: the careful bot."""

    def __init__(self, cycles: Sequence[tuple[Arc, ...]], rates: dict[Arc, float]) -> None:
        self.rates = rates
        self.pairs: dict[Arc, list[tuple[Arc, Arc]]] = {}
        self.triples: dict[Arc, list[tuple[Arc, Arc, Arc]]] = {}
        for cycle in cycles:
            index = self.pairs if len(cycle) == 3 else self.triples
            for i, arc in enumerate(cycle):
                index.setdefault(arc, []).append(cycle[i + 1 :] + cycle[:i])

    def update(self, base: str, quote: str, sell: float, buy: float) -> tuple[float, Arc] | None:
        """Set the rates of a market; the best cycle through it above 1."""
        rates = self.rates
        best = 1.0
        found = None
        for arc, rate in (((base, quote), sell), ((quote, base), buy)):
            rates[arc] = rate
            for b, c in self.pairs.get(arc, ()):
                ratio = rate * rates[b] * rates[c]
                if ratio > best:
                    best = ratio
                    found = (ratio, b)
            for b, c, d in self.triples.get(arc, ()):
                ratio = rate * rates[b] * rates[c] * rates[d]
                if ratio > best:
                    best = ratio
                    found = (ratio, b)
        return found


class NumpyScan:
    """All triangles as one array of arc numbers."""

    def __init__(self, triangles: np.ndarray) -> None:
        self.a, self.b, self.c = (np.ascontiguousarray(column) for column in triangles.T)

    def scan(self, rates: np.ndarray) -> np.ndarray:
        return np.flatnonzero(rates[self.a] * rates[self.b] * rates[self.c] > 1)


class NetworkxSearch:
    """Simple cycles of a directed graph, as the published arbitrage scripts do it."""

    def __init__(self, rates: dict[Arc, float]) -> None:
        self.graph = networkx.DiGraph()
        for (here, there), rate in rates.items():
            self.graph.add_edge(here, there, rate=rate)

    def scan(self) -> list[list[str]]:
        edges = self.graph.edges
        found = []
        for cycle in networkx.simple_cycles(self.graph, length_bound=3):
            if len(cycle) == 3:
                ratio = 1.0
                for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
                    ratio *= edges[here, there]["rate"]
                if ratio > 1:
                    found.append(cycle)
        return found
