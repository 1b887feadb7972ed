"""What a running ComfyUI says on its websocket, collected by a background thread."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import aiohttp

Event = dict[str, Any]


class EventListener:
    """Listens until `close()`. Keeps events in order: {"type": str, "data": object, "at": monotonic seconds}.

    Binary ones have the type "binary".
    """

    def __init__(self, url: str):
        self._url = url
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._closing: asyncio.Event | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._listen(),), daemon=True)
        self._thread.start()

    async def _listen(self) -> None:
        self._closing = asyncio.Event()
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url, max_msg_size=0) as socket:
            reader = asyncio.ensure_future(self._read(socket))
            closer = asyncio.ensure_future(self._closing.wait())
            await asyncio.wait({reader, closer}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reader, closer):
                task.cancel()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                self._add(json.loads(message.data))
            elif message.type == aiohttp.WSMsgType.BINARY:
                self._add({"type": "binary", "data": message.data})

    def _add(self, event: Event) -> None:
        with self._changed:
            self._events.append({**event, "at": time.monotonic()})
            self._changed.notify_all()

    def all(self, type_: str | None = None) -> list[Event]:
        """The events so far, all or of one type."""
        with self._changed:
            return [event for event in self._events if type_ in (None, event["type"])]

    def wait_for(self, wanted: Callable[[Event], bool], timeout: float) -> bool:
        """Whether an event that is `wanted` has come or comes within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: any(map(wanted, self._events)), timeout)

    def close(self) -> None:
        """Disconnect and end the thread."""
        if self._closing and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)
        if not self._thread.is_alive():
            self._loop.close()
