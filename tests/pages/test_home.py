"""The web app so far: one page that lists runs, on this machine only."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from studio.core.ids import new_id
from studio.core.paths import open_home
from studio.pipeline.status import StatusFile, new_status

ROOT = Path(__file__).resolve().parents[2]


def test_an_empty_home_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))
    page = AppTest.from_file(str(ROOT / "pages" / "home.py")).run(timeout=60)
    assert not page.exception
    assert "studio pipeline run --wait" in page.info[0].value


def test_a_run_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path))
    run_id = new_id()
    folder = open_home(tmp_path).pipelines / run_id
    folder.mkdir(parents=True)
    StatusFile(folder / "status.json").write(new_status(run_id))
    page = AppTest.from_file(str(ROOT / "pages" / "home.py")).run(timeout=60)
    assert not page.exception
    assert run_id in page.dataframe[0].value.to_string()


def load_app() -> Any:
    spec = importlib.util.spec_from_file_location("studio_app", ROOT / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("client", "reached"),
    [(("127.0.0.1", 1), True), (("::1", 1), True), (("192.0.2.7", 1), False), (None, False), (("unix", 0), False)],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_this_machine_gets_through(client: tuple[str, int] | None, reached: bool, kind: str):
    seen: list[str] = []
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.connect"}

    scope = {"type": kind, "client": client, "method": "GET", "headers": [], "path": "/"}
    asyncio.run(load_app().LoopbackOnly(inner)(scope, receive, send))
    assert seen == ([kind] if reached else [])
    if not reached:
        assert sent[0] in ({"type": "websocket.close", "code": 1008},) or sent[0]["status"] == 403
