"""The page on this machine: a server that only this machine reaches, and only with the token in the address."""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videxplain.errors import VidexplainError
from videxplain.view.clip_scene import ClipScene
from videxplain.view.page import STATIC, playable, served_html, static
from videxplain.view.scene import Scene, packed_labels, window_json
from videxplain.view.video_scene import VideoScene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from videxplain.view.asking import Asker

HOST = "127.0.0.1"
MOST_WAITING = 4
"""Questions to the network that may wait at once; more are refused."""
_LONGEST_QUESTION = 1 << 20
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def application(
    scene: Scene,
    token: str,
    port: int,
    asker: Asker | None = None,
    no_asker: str = "",
    video: Path | None = None,
) -> Starlette:
    """The server's pages and answers.

    Parameters
    ----------
    token
        Has to come with every question but those for the page's own files.
    port
        Of the address under which it is asked; questions by other names are refused.
    asker
        Answers questions to the network; without one `no_asker` tells why there is none.
    video
        The file that browsers play, of a `VideoScene`.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    reading, asking = threading.Lock(), threading.Lock()
    waiting = threading.BoundedSemaphore(MOST_WAITING)
    summary = scene.summary()
    summary["asking"] = {"reason": no_asker} if asker is None else asker.choices()
    names = {f"{HOST}:{port}", f"localhost:{port}"}

    def refuse(status: int, words: str) -> HTTPException:
        return HTTPException(status, words)

    def index_of(request: Request, name: str = "index") -> int:
        index = int(request.path_params[name])
        if index >= len(summary["windows"]):
            raise refuse(404, f"there is no window {index}")
        return index

    def locked(work: Callable[[], Any]) -> Any:
        with reading:
            return work()

    async def page(request: Request) -> Response:
        return Response(served_html(summary), media_type="text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in (*STATIC, "start.js"):
            raise refuse(404, "there is no such file")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(static(name), media_type=kind)

    async def data(request: Request) -> Response:
        return JSONResponse(summary)

    async def window(request: Request) -> Response:
        index = index_of(request)
        return JSONResponse(await run_in_threadpool(locked, lambda: window_json(scene, index)))

    async def labels(request: Request) -> Response:
        index, number = index_of(request), int(request.path_params["layer"])
        layers = await run_in_threadpool(locked, lambda: scene.layers(index))
        if number >= len(layers):
            raise refuse(404, f"there is no explanation {number}")
        packed = await run_in_threadpool(packed_labels, layers[number].labels, 1)  # soon, not small
        return Response(packed, media_type="application/octet-stream")

    async def frame(request: Request) -> Response:
        t = int(request.path_params["t"])
        if not isinstance(scene, ClipScene) or t >= summary["frames"]:
            raise refuse(404, f"there is no frame {t}")
        content, kind = await run_in_threadpool(scene.frame, t)
        return Response(content, media_type=kind)

    async def film(request: Request) -> Response:
        if video is None:
            raise refuse(404, "there is no video")
        return FileResponse(video)

    async def shares(request: Request) -> Response:
        if not isinstance(scene, VideoScene):
            raise refuse(404, "there are no regions that outlast the clip")
        number, layer = (int(request.path_params[name]) for name in ("number", "layer"))
        if layer >= len(summary["layers"]):
            raise refuse(404, f"there is no explanation {layer}")
        return JSONResponse(await run_in_threadpool(locked, lambda: scene.shares_of(number, layer)))

    async def question(request: Request) -> Any:
        if asker is None:
            raise refuse(409, no_asker)
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _LONGEST_QUESTION:
                raise refuse(413, "the question is too long")
        try:
            return json.loads(body)
        except ValueError:
            raise refuse(400, "the question is not JSON") from None

    async def answered(work: Callable[[], Any]) -> Response:
        if not waiting.acquire(blocking=False):
            raise refuse(429, f"{MOST_WAITING} questions are being answered already; ask again in a moment")

        def run() -> Any:
            try:
                with asking:
                    return work()
            finally:
                waiting.release()

        return JSONResponse(await run_in_threadpool(run))

    async def ask(request: Request) -> Response:
        asked = await question(request)
        assert asker is not None
        return await answered(lambda: asker.answer(request.path_params["kind"], asked))

    async def told(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 422
        words = error.detail if isinstance(error, HTTPException) else str(error)
        return PlainTextResponse(words, status, headers=_HEADERS)

    async def failed(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"this failed: {type(error).__name__}: {error}", 500, headers=_HEADERS)

    class Guard:
        """Refuses questions by other names, of other pages and without the token, before anything is done."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return
            reason = self._reason(scope)
            if reason:
                await PlainTextResponse(reason, 403, headers=_HEADERS)(scope, receive, send)
                return

            async def with_headers(message: Any) -> None:
                if message["type"] == "http.response.start":
                    known = {name.lower() for name, _ in message["headers"]}
                    message["headers"] += [
                        (name.lower().encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.lower().encode() not in known
                    ]
                await send(message)

            await self.app(scope, receive, with_headers)

        def _reason(self, scope: Any) -> str:
            from urllib.parse import parse_qs

            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            if headers.get("host") not in names:
                return "this server answers at its own address only"
            if "origin" in headers and headers["origin"].removeprefix("http://") not in names:
                return "this server answers its own page only"
            if scope["path"].startswith("/static/"):
                return ""
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not hmac.compare_digest(given.encode(), token.encode()):
                return (
                    "the token in the address is missing or wrong; open the address that the command printed"
                )
            return ""

    routes = [
        Route("/", page),
        Route("/static/{name}", file),
        Route("/data", data),
        Route("/window/{index:int}", window),
        Route("/labels/{index:int}/{layer:int}", labels),
        Route("/frame/{t:int}", frame),
        Route("/video", film),
        Route("/shares/{number:int}/{layer:int}", shares),
        Route("/{kind}", ask, methods=["POST"]),
    ]
    handlers: Any = {HTTPException: told, VidexplainError: told, 500: failed}
    return Starlette(routes=routes, middleware=[Middleware(Guard)], exception_handlers=handlers)


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket on this machine only; port 0 takes a free one."""
    opened = socket.socket()
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((HOST, port))
        except OSError as error:
            raise VidexplainError(
                f"port {port} cannot be used ({error.strerror}); give another one with --port"
            ) from error
        yield opened
    finally:
        opened.close()


def serve(
    scene: Scene,
    *,
    port: int = 0,
    asker: Asker | None = None,
    no_asker: str = "",
    ready: Callable[[str], None] = print,
) -> None:
    """Serves the page until Ctrl-C.

    Parameters
    ----------
    ready
        Called with the page's address when it can be opened.

    Raises
    ------
    VidexplainError
        If the port cannot be used, or a package is missing.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise VidexplainError(
            "the page's server needs starlette and uvicorn; install them with pip install 'videxplain[view]', or write "
            "the page as a file with --export page.html."
        ) from error
    with listening(port) as opened, tempfile.TemporaryDirectory() as folder:
        video = playable(scene, Path(folder)) if isinstance(scene, VideoScene) else None
        token, port = secrets.token_urlsafe(24), opened.getsockname()[1]
        app = application(scene, token, port, asker, no_asker, video)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        )
        address = f"http://{HOST}:{port}/?token={token}"
        started = server.startup

        async def startup(sockets: Any = None) -> None:
            await started(sockets=sockets)
            ready(address)

        server.startup = startup  # type: ignore[method-assign]
        server.run(sockets=[opened])
