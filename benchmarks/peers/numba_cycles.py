"""An incremental search for cycles in numba: what one would compile instead of writing C."""

import numpy as np
from numba import njit

__all__ = ["NumbaIndex"]


@njit(cache=False)
def _update(rates, starts, others, market, sell, buy):
    best = 1.0
    found = -1
    for arc, rate in ((2 * market, sell), (2 * market + 1, buy)):
        rates[arc] = rate
        for i in range(starts[arc], starts[arc + 1]):
            ratio = rate
            for other in others[i]:
                ratio *= rates[other]
            if ratio > best:
                best = ratio
                found = i
    return found, best


class NumbaIndex:
    """Cycles under each of their arcs, in flat arrays; float rates.

    Parameters
    ----------
    cycles : list of array of int, each of shape (count, length)
        Arc numbers: 2 * market sells, 2 * market + 1 buys.
    rates : array of float
        Of every arc, fees included.
    """

    def __init__(self, cycles: list[np.ndarray], rates: np.ndarray) -> None:
        # Shorter cycles are filled up with an arc beyond the last, whose rate is 1.
        nowhere, length = len(rates), max(some.shape[1] for some in cycles)
        filled = np.concatenate(
            [
                np.pad(some, ((0, 0), (0, length - some.shape[1])), constant_values=nowhere)
                for some in cycles
            ]
        )
        arcs = filled.ravel()
        columns = np.array([[j for j in range(length) if j != i] for i in range(length)])
        others = filled[:, columns].reshape(len(arcs), length - 1)
        order = np.argsort(arcs, kind="stable")
        self._others = np.ascontiguousarray(others[order].astype(np.int32))
        self._starts = np.searchsorted(arcs[order], np.arange(nowhere + 1)).astype(np.int32)
        self._rates = np.append(rates.astype(np.float64), 1.0)
        self.update(0, *self._rates[:2])  # compiles

    def update(self, market: int, sell: float, buy: float) -> tuple[int, float]:
        """Set the rates of a market; number of the best cycle through it, -1 if none is above 1."""
        return _update(self._rates, self._starts, self._others, market, sell, buy)
