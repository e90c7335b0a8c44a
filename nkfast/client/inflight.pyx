"""Requests that are on the socket and wait for their answers.

Compiled, because it is the last of our own on the way from a tick to its order: what need not be
done before the request is on the socket is done afterwards, and what need not be done is not.
"""

cimport cython

import asyncio
import functools

from picows import WSMsgType

from nkfast.core.order_frame cimport cancel_order_frame, new_order_frame

from nkfast.errors import (
    ConfigError,
    ModeError,
    OutcomeUnknownError,
    UnreachableError,
    WireError,
)
from nkfast.wire.client_session import changes
from nkfast.wire.codec import encode_request, read_acceptance, read_model
from nkfast.wire.models import OrderCancelResult
from nkfast.wire.symbols import canonical

__all__ = ["UNANSWERED_MAX", "InFlight"]

#: At most so many orders and cancels without an answer on one socket (reliability 3.8).
UNANSWERED_MAX = 16

# Looking a member up in its enumeration costs as much as a small message.
cdef object TEXT = WSMsgType.TEXT
cdef object READ_CANCELLED = functools.partial(read_model, OrderCancelResult)


@cython.final
@cython.freelist(32)
cdef class Waiting:
    """One request: who waits, how its result is read, what it is about, until when."""

    cdef object future
    cdef object read
    cdef object request  # the `OrderRequest`, which `read` is not needed for
    cdef str method
    cdef object about
    cdef double deadline
    cdef bint is_change


@cython.final
cdef class InFlight:
    """Sends requests, each once, and ends each exactly once: by its answer, its time, or the loss.

    Parameters
    ----------
    session : ClientSession
        Numbers the requests and recognises the answers.
    counters : dict of str to int
        ``timeouts``.
    allow_changes : bool
        False refuses what changes something.
    timeout_seconds : float
    on_swallowed : callable
        ``on_swallowed(reason)``: an order or a cancel was not answered in time.
    on_late_outcome : callable
        ``on_late_outcome(method, about, outcome)``: the end of an order or a cancel whose future
        was cancelled before. ``about`` is the id as the caller gave it, or the params.
    """

    cdef object session
    cdef object ids
    cdef dict counters
    cdef bint allow_changes
    cdef readonly double timeout_seconds
    cdef object on_swallowed
    cdef object on_late_outcome
    cdef object loop
    cdef object transport
    cdef object listener
    cdef dict waiting  # by id, in the order of sending, which is that of the deadlines
    cdef readonly object timer  # the one for all: it waits for the oldest
    cdef readonly int unanswered_changes

    def __cinit__(
        self,
        session not None,
        dict counters not None,
        *,
        bint allow_changes,
        double timeout_seconds,
        on_swallowed not None,
        on_late_outcome not None,
    ):
        self.session = session
        self.ids = session.ids
        self.counters = counters
        self.allow_changes = allow_changes
        self.timeout_seconds = timeout_seconds
        self.on_swallowed = on_swallowed
        self.on_late_outcome = on_late_outcome
        self.waiting = {}
        counters["timeouts"] = counters.get("timeouts", 0)

    def __len__(self):
        return len(self.waiting)

    def opened(self, transport not None, listener not None):
        """Send over this connection from now on."""
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        self.listener = listener

    def lost(self, list numbers not None, str reason not None):
        """Take note that the connection is gone, and with it the answers to these requests."""
        self.transport = None
        self.listener = None
        for number in numbers:
            row = self.waiting.get(number)
            if row is not None:
                self.end(number, None, unanswered((<Waiting>row).method, reason))

    def close(self):
        """Stop the clock."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def send_new_order(self, request not None):
        """Send an `OrderRequest`; see `WebSocketClient.send_new_order`."""
        cdef Waiting row
        cdef str obstacle
        if not self.allow_changes:
            raise ModeError("newOrder", "monitor")
        obstacle = self.obstacle(True)
        number = None
        if obstacle is None:
            number = next(self.ids)
            self.transport.send(
                TEXT,
                new_order_frame(
                    number,
                    canonical(request.symbol),
                    request.side,
                    request.order_type,
                    request.quantity,
                    request.price,
                    request.user_provided_id,
                    request.strict_validate,
                ),
            )
        row = Waiting()
        row.method = "newOrder"
        row.is_change = True
        row.request = request
        row.about = request.user_provided_id
        return self.await_answer(number, row, obstacle)

    def send_cancel_order(self, str order_id, str user_provided_id):
        """Send a cancel; see `WebSocketClient.send_cancel_order`."""
        cdef Waiting row
        cdef str obstacle
        if (order_id is None) == (user_provided_id is None):
            raise ConfigError("give either order_id or user_provided_id")
        if not self.allow_changes:
            raise ModeError("cancelOrder", "monitor")
        obstacle = self.obstacle(True)
        number = None
        if obstacle is None:
            number = next(self.ids)
            self.transport.send(TEXT, cancel_order_frame(number, order_id, user_provided_id))
        row = Waiting()
        row.method = "cancelOrder"
        row.is_change = True
        row.read = READ_CANCELLED
        row.about = order_id if order_id is not None else user_provided_id
        return self.await_answer(number, row, obstacle)

    def send(self, str method not None, params not None, read not None):
        """Send any request and return the future of ``read(result)``."""
        cdef Waiting row
        cdef bint is_change = changes(method)
        cdef str obstacle
        if is_change and not self.allow_changes:
            raise ModeError(method, "monitor")
        obstacle = self.obstacle(is_change)
        number = None
        if obstacle is None:
            number = next(self.ids)
            self.transport.send(TEXT, encode_request(method, params, number))
        row = Waiting()
        row.method = method
        row.is_change = is_change
        row.read = read
        row.about = params
        return self.await_answer(number, row, obstacle)

    # Why a request cannot be sent now, None if it can.
    cdef str obstacle(self, bint is_change):
        transport = self.transport
        # picows drops what is sent after a close frame without a word.
        if transport is None or transport.is_close_frame_sent or transport.is_disconnected:
            return "not connected"
        if is_change:
            if not self.session.takes_orders:
                return "the login or the reports are not acknowledged yet"
            if self.unanswered_changes >= UNANSWERED_MAX:
                return f"{UNANSWERED_MAX} orders and cancels are unanswered"
        if not self.listener.is_writable:
            return "the venue reads too slowly"
        return None

    cdef object await_answer(self, object number, Waiting row, str obstacle):
        # Asked for once a connection: to ask is a system call.
        cdef object loop = self.loop
        cdef object future
        if obstacle is not None:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(UnreachableError(obstacle, endpoint=row.method, sent="no"))
            return future
        future = loop.create_future()
        self.session.expect(number, row.method)
        row.future = future
        row.deadline = loop.time() + self.timeout_seconds
        self.waiting[number] = row
        self.unanswered_changes += row.is_change
        if self.timer is None:
            self.timer = loop.call_at(row.deadline, self.expire_due)
        return future

    # One timer for all, since most requests are answered long before: it wakes for the oldest.
    def expire_due(self):
        """End the requests whose time is over."""
        cdef Waiting row
        cdef object loop = self.loop
        cdef double now = loop.time()
        self.timer = None
        for number, row in [*self.waiting.items()]:
            if row.deadline > now:
                self.timer = loop.call_at(row.deadline, self.expire_due)
                return
            if number in self.waiting:
                self.expire(number, row)

    cdef int expire(self, object number, Waiting row) except -1:
        cdef str reason = f"no answer within {self.timeout_seconds} s"
        self.counters["timeouts"] += 1
        self.session.forget(number)
        self.end(number, None, unanswered(row.method, reason))
        if row.is_change:
            # A socket that swallowed an order is not trusted with another.
            self.on_swallowed(f"{row.method}: {reason}")
        return 0

    def end(self, number, result=None, error=None):
        """End a request by its result or by an error; unknown numbers are ignored."""
        cdef Waiting row = self.waiting.pop(number, None)
        if row is None:
            return
        self.unanswered_changes -= row.is_change
        if error is None:
            try:
                if row.request is not None:
                    outcome = read_acceptance(row.request, result)
                else:
                    outcome = row.read(result)
            except WireError as fault:
                error = fault
                if row.is_change:
                    error = OutcomeUnknownError(str(fault), endpoint=row.method, sent="maybe")
        if row.future.done():
            # It was cancelled, but the request had been sent: what became of it is not lost.
            if row.is_change:
                self.on_late_outcome(row.method, row.about, outcome if error is None else error)
        elif error is None:
            row.future.set_result(outcome)
        else:
            row.future.set_exception(error)


cdef object unanswered(str method, str reason):
    kind = OutcomeUnknownError if changes(method) else UnreachableError
    return kind(reason, endpoint=method, sent="maybe")
