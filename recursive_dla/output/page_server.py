"""One page on this machine's own address: what ``recursive-dla view`` serves, and to whom it does not."""

from __future__ import annotations

import os
import socketserver
import threading
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from recursive_dla.attribution.labels import visible_line
from recursive_dla.errors import InputError

HOST = "127.0.0.1"
# Seconds that a connection may stay silent; browsers open some that they never use.
_TIMEOUT = 10
# Every page that this package writes holds it; another file has no business being served.
_MARK = b"recursive_dla.attribution_graph"


def page_of(path: Path) -> bytes:
    """The page that explores the graph in a file: an ``.html`` page as it is, any other format rendered.

    Raises:
        InputError: There is no such file, it holds no graph, or one that is too large for a page.
    """
    if path.suffix.lower() != ".html":
        from recursive_dla.output.explorer.page_file import page_text
        from recursive_dla.output.saving import load

        return page_text(load(path)).encode()
    try:
        page = path.read_bytes()
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    if _MARK not in page:
        raise InputError(f"{str(path)!r} does not hold an attribution graph; give a file that graph.save wrote.")
    return page


class PageServer(ThreadingHTTPServer):
    """Serves one page at ``/`` on the loopback address, and nothing else.

    Requests must name that address as their host: a web site whose name was made to point here cannot read the page.

    Args:
        page: The page, in UTF-8.
        port: Where to listen; 0 for any that is free.

    Raises:
        InputError: The port cannot be used.
    """

    daemon_threads = True
    # Elsewhere this would let two programs share a port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, page: bytes, port: int = 0) -> None:
        if not 0 <= port <= 65535:
            raise InputError(f"A port must be from 1 to 65535, or 0 for any that is free. Got {port}.")
        self.page = page
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(f"Port {port} cannot be used: {error.strerror or error}. Choose another.") from error

    def server_bind(self) -> None:
        # The base class would look the address up by name, which can take seconds and leaves the machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def is_own_host(self, host: str) -> bool:
        """Whether a request's ``Host`` is this server."""
        names = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        if self.server_port == 80:
            names |= {HOST, "localhost"}
        return host.lower() in names

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a browser that hangs up is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = _TIMEOUT
    server_version, sys_version = "recursive-dla", ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.is_own_host(hosts[0]):
            status, body, kind = HTTPStatus.FORBIDDEN, b"Forbidden\n", "text/plain"
        elif self.path != "/":
            status, body, kind = HTTPStatus.NOT_FOUND, b"Not found\n", "text/plain"
        else:
            status, body, kind = HTTPStatus.OK, self.server.page, "text/html"
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal shows the address, and stays readable."""


def view(path: Path, *, port: int = 0, open_browser: bool = True, say: Callable[[str], None] = print) -> None:
    """Serve the graph in a file on this machine until Ctrl-C.

    Args:
        path: An ``.html`` page, or a graph that :meth:`recursive_dla.AttributionGraph.load` reads.
        port: Where to listen; 0 for any that is free.
        open_browser: Whether to open the page in the browser.
        say: Takes the address, and that the server stopped.

    Raises:
        InputError: The file holds no graph, or the port cannot be used.
    """
    with PageServer(page_of(path), port) as server:
        # From here on the port listens, so that a browser may be told of it; Ctrl-C may come at any time.
        try:
            say(f"{server.url} shows {visible_line(str(path))}; Ctrl-C stops.")
            if open_browser:
                # In a terminal without a desktop, the browser may be one that runs until it is closed.
                threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
            server.serve_forever()
        except KeyboardInterrupt:
            say("Stopped.")
