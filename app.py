"""The web process: one ASGI application, so far with one page that reads. It answers on this machine only.

`python app.py`, `streamlit run app.py` and `uvicorn app:app` all start it, with the same options.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config

OPTIONS = {"server.address": "127.0.0.1", "server.headless": True, "browser.gatherUsageStats": False}
LOCAL_HOSTS = ["127.0.0.1", "localhost", "[::1]"]


class LoopbackOnly:
    """Refuses a client on another machine, whatever address the server was bound to: there are no accounts yet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_local(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse("Studio answers on its own machine only.\n", 403)(scope, receive, send)

    @staticmethod
    def _is_local(scope: Scope) -> bool:
        client = scope.get("client")
        try:
            return bool(client) and ipaddress.ip_address(client[0]).is_loopback
        except ValueError:
            return False


for name, value in OPTIONS.items():
    config.set_option(name, value)

# a foreign name that resolves to 127.0.0.1 is refused as well (DNS rebinding)
app = st.App(
    Path(__file__).parent / "pages" / "home.py",
    middleware=[Middleware(LoopbackOnly), Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_HOSTS)],
)

if __name__ == "__main__":
    app.run(config=OPTIONS)
