from collections.abc import Callable
from typing import final

from picows import WSFrame, WSListener, WSTransport

from nkfast.client.assembly import Sink, Tap
from nkfast.core.frame import FrameDecoder

@final
class Listener(WSListener):
    def __new__(
        cls,
        sink: Sink,
        decoder: FrameDecoder | None = None,
        tap: Tap | None = None,
        clock_ns: Callable[[], int] = ...,
        *,
        message_bytes_max: int = ...,
        fragments_max: int = ...,
    ) -> Listener: ...
    book_callback: Callable[[int, int], object] | None
    wants_books: bool
    is_writable: bool
    frame_count: int
    byte_count: int
    @property
    def binary_count(self) -> int: ...
    def on_ws_connected(self, transport: WSTransport) -> None: ...
    def on_ws_disconnected(self, transport: WSTransport) -> None: ...
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
