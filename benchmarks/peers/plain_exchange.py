"""An exchange as one would write it in an afternoon: dictionaries of `Decimal`, aiohttp, json.

It knows limit orders of one market, holds, fees and cancels, the signature of a REST request and
the nonces that were used. It keeps no history, sends no notification, checks no rule of a market
and rounds what `Decimal` rounds.

    python -P plain_exchange.py

Prints its port, ends when its standard input does.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections import defaultdict, deque
from decimal import Decimal

from aiohttp import WSMsgType, web

FEE = Decimal("0.002")
KEY, SECRET = "demo-key", "demo-secret"


class Refused(Exception):
    pass


class PlainExchange:
    """One market; prices in a dictionary, the best one found by looking at all of them."""

    def __init__(self):
        self.books = {"buy": defaultdict(deque), "sell": defaultdict(deque)}
        self.orders = {}
        self.ids = {}
        self.available = {}
        self.held = {}

    def open_account(self, name, base, quote):
        self.available[name] = {"buy": Decimal(quote), "sell": Decimal(base)}
        self.held[name] = {"buy": Decimal(0), "sell": Decimal(0)}

    def submit(self, account, side, price, quantity, client_id):
        price, quantity = Decimal(price), Decimal(quantity)
        if price <= 0 or quantity <= 0:
            raise Refused("Bad number")
        if (account, client_id) in self.ids:
            raise Refused("Duplicate userProvidedId")
        needed = price * quantity * (1 + FEE) if side == "buy" else quantity
        if self.available[account][side] < needed:
            raise Refused("Insufficient funds")
        self.available[account][side] -= needed
        self.held[account][side] += needed
        now_ms = time.time_ns() // 1_000_000
        order = {
            "id": uuid.uuid4().hex[:24],
            "userProvidedId": client_id,
            "symbol": "BTC/USDT",
            "side": side,
            "type": "limit",
            "price": price,
            "quantity": quantity,
            "remaining": quantity,
            "held": needed,
            "account": account,
            "status": "New",
            "createdAt": now_ms,
            "updatedAt": now_ms,
        }
        self.ids[account, client_id] = order["id"]
        self.match(order)
        if order["remaining"]:
            self.orders[order["id"]] = order
            self.books[side][price].append(order)
        return order

    def match(self, taker):
        side = taker["side"]
        others = self.books["sell" if side == "buy" else "buy"]
        while taker["remaining"] and others:
            price = min(others) if side == "buy" else max(others)
            if price > taker["price"] if side == "buy" else price < taker["price"]:
                break
            maker = others[price][0]
            lots = min(maker["remaining"], taker["remaining"])
            for order in (maker, taker):
                self.fill(order, price, lots)
            if not maker["remaining"]:
                others[price].popleft()
                del self.orders[maker["id"]]
                if not others[price]:
                    del others[price]

    def fill(self, order, price, quantity):
        account, side = order["account"], order["side"]
        paid = price * quantity * (1 + FEE) if side == "buy" else quantity
        order["remaining"] -= quantity
        order["status"] = "Partly Filled" if order["remaining"] else "Filled"
        order["held"] -= paid
        self.held[account][side] -= paid
        gained = quantity if side == "buy" else price * quantity * (1 - FEE)
        self.available[account]["sell" if side == "buy" else "buy"] += gained
        if not order["remaining"]:
            self.release(order)

    def release(self, order):
        self.held[order["account"]][order["side"]] -= order["held"]
        self.available[order["account"]][order["side"]] += order["held"]
        order["held"] = Decimal(0)

    def cancel(self, account, identifier):
        order = self.orders.pop(self.ids.get((account, identifier), identifier), None)
        if order is None:
            raise Refused("Active order not found for cancellation")
        level = self.books[order["side"]][order["price"]]
        level.remove(order)
        if not level:
            del self.books[order["side"]][order["price"]]
        self.release(order)
        order["status"] = "Cancelled"
        return order


def shown(order):
    return {
        "id": order["id"],
        "userProvidedId": order["userProvidedId"],
        "symbol": order["symbol"],
        "side": order["side"],
        "type": order["type"],
        "price": str(order["price"]),
        "quantity": str(order["quantity"]),
        "executedQuantity": str(order["quantity"] - order["remaining"]),
        "remainQuantity": str(order["remaining"]),
        "status": order["status"],
        "createdAt": order["createdAt"],
        "updatedAt": order["updatedAt"],
    }


class Service:
    """What aiohttp calls."""

    def __init__(self):
        self.exchange = PlainExchange()
        self.exchange.open_account(KEY, "1000", "100000000")
        self.nonces = set()

    def do(self, method, fields):
        if method in ("newOrder", "createorder"):
            words = ("side", "price", "quantity", "userProvidedId")
            return shown(self.exchange.submit(KEY, *(fields[word] for word in words)))
        identifier = fields.get("orderId") or fields.get("id") or fields.get("userProvidedId")
        return shown(self.exchange.cancel(KEY, identifier))

    def converse(self, frame):
        request = json.loads(frame)
        if request["method"] == "login":
            return {"jsonrpc": "2.0", "result": True, "id": request["id"]}
        try:
            result = self.do(request["method"], request["params"])
        except Refused as error:
            return {"jsonrpc": "2.0", "error": {"message": str(error)}, "id": request["id"]}
        return {"jsonrpc": "2.0", "result": result, "id": request["id"]}

    async def handle(self, request):
        if "Upgrade" in request.headers:
            socket = web.WebSocketResponse(compress=False)
            await socket.prepare(request)
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(json.dumps(self.converse(message.data)))
            return socket
        body, nonce = await request.text(), request.headers["X-API-NONCE"]
        url = f"{request.scheme}://{request.host}{request.raw_path}"
        signed = hmac.new(SECRET.encode(), (KEY + url + body + nonce).encode(), hashlib.sha256)
        given = request.headers["X-API-SIGN"]
        if nonce in self.nonces or not hmac.compare_digest(signed.hexdigest(), given):
            return web.json_response({"error": "Not Authorized"}, status=401)
        self.nonces.add(nonce)
        try:
            return web.json_response(self.do(request.path.rpartition("/")[2], json.loads(body)))
        except Refused as error:
            return web.json_response({"error": str(error)}, status=400)


async def main():
    runner = web.ServerRunner(web.Server(Service().handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
