import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, final

from picows import WSTransport

from nkfast.errors import VenueError
from nkfast.wire.client_session import ClientSession
from nkfast.wire.models import OrderCancelResult, OrderRequest, OrderResponse

__all__ = ["UNANSWERED_MAX", "InFlight"]

UNANSWERED_MAX: int

_T = TypeVar("_T")

class _Listener(Protocol):
    is_writable: bool

@final
class InFlight:
    def __new__(
        cls,
        session: ClientSession,
        counters: dict[str, int],
        *,
        allow_changes: bool,
        timeout_seconds: float,
        on_swallowed: Callable[[str], object],
        on_late_outcome: Callable[[str, Any, Any], object],
    ) -> InFlight: ...
    def __len__(self) -> int: ...
    @property
    def timeout_seconds(self) -> float: ...
    @property
    def unanswered_changes(self) -> int: ...
    @property
    def timer(self) -> asyncio.TimerHandle | None: ...
    def opened(self, transport: WSTransport, listener: _Listener) -> None: ...
    def lost(self, numbers: list[int], reason: str) -> None: ...
    def close(self) -> None: ...
    def send_new_order(self, request: OrderRequest) -> asyncio.Future[OrderResponse]: ...
    def send_cancel_order(
        self, order_id: str | None, user_provided_id: str | None
    ) -> asyncio.Future[OrderCancelResult]: ...
    def send(
        self, method: str, params: Mapping[str, object], read: Callable[[Any], _T]
    ) -> asyncio.Future[_T]: ...
    def expire_due(self) -> None: ...
    def end(self, number: int, result: Any = None, error: VenueError | None = None) -> None: ...
