"""Python's websockets against a server that speaks Binance's protocol. It plays
what the test in ../foreign_test.go tells of, and prints one line of JSON for
each thing that it saw."""

import asyncio
import json
import logging
import sys

import websockets

base, closing, a, b = sys.argv[1:5]


def told(step, **more):
    print(json.dumps({"step": step, **more}), flush=True)


class Pings(logging.Handler):
    """Counts the server's pings, which the library answers by itself."""

    count = 0

    def emit(self, record):
        self.count += record.getMessage().startswith("< PING")


pings = Pings()
logger = logging.getLogger("seen")
logger.setLevel(logging.DEBUG)
logger.propagate = False
logger.addHandler(pings)


async def receive(ws):
    text = await ws.recv()
    if not isinstance(text, str):
        raise TypeError("a binary message")
    event = json.loads(text)
    told("message", event=event)
    return event.get("data", event).get("e") if isinstance(event, dict) else None


async def until(ws, **wanted):
    """Receives until each kind of event came so many times."""
    while any(n > 0 for n in wanted.values()):
        kind = await receive(ws) or "answer"
        if kind in wanted:
            wanted[kind] -= 1


async def to_the_end(ws):
    try:
        while True:
            await receive(ws)
    except websockets.ConnectionClosed as end:
        told("close", code=end.rcvd.code, reason=end.rcvd.reason)


async def main():
    async with websockets.connect(f"{base}/ws/{a}@trade", ping_interval=None, logger=logger) as ws:
        await until(ws, trade=20)
        for request in (
            {"method": "SUBSCRIBE", "params": [f"{b}@aggTrade"], "id": 1},
            {"method": "LIST_SUBSCRIPTIONS", "id": 2},
            {"method": "UNSUBSCRIBE", "params": [f"{a}@trade"], "id": 3},
            {"method": "LIST_SUBSCRIPTIONS", "id": "four"},
            {"method": "JUMP", "id": 5},
        ):
            await ws.send(json.dumps(request))
            await until(ws, answer=1)
            await asyncio.sleep(0.4)  # five messages a second are allowed, pongs among them
        await until(ws, aggTrade=5)
        while pings.count < 4:
            await receive(ws)
        await (await ws.ping())
        told("kept", pings=pings.count)
    told("close", code=ws.close_code, reason=ws.close_reason)

    async with websockets.connect(f"{base}/stream?streams={a}@trade/{b}@aggTrade") as ws:
        await until(ws, trade=10, aggTrade=10)
    told("close", code=ws.close_code, reason=ws.close_reason)

    async with websockets.connect(f"{base}/ws") as ws:
        for _ in range(12):
            await ws.send('{"method":"LIST_SUBSCRIPTIONS","id":6}')
        await to_the_end(ws)

    async with websockets.connect(f"{closing}/stream?streams={a}@trade") as ws:
        await until(ws, serverShutdown=1)
        await to_the_end(ws)


asyncio.run(main())
