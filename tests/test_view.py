"""``recursive-dla view``: one page, to this machine only."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from models import run

from recursive_dla import AttributionGraph, InputError, attribution_graph
from recursive_dla.output import page_server
from recursive_dla.output.page_server import HOST, PageServer, page_of

PAGE = "<!doctype html>é".encode()


@cache
def graph() -> AttributionGraph:
    model, _, _, activations = run("gpt2")
    return attribution_graph(activations, model, 5, wrong_answers=17).prune(max_edges=89)


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer(PAGE) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    port: int, path: str = "/", method: str = "GET", hosts: tuple[str, ...] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for host in (f"{HOST}:{port}",) if hosts is None else hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    found = response.status, response.read(), response.headers
    connection.close()
    return found


def test_the_page_is_served_whole_and_is_not_kept(server: PageServer) -> None:
    status, body, headers = ask(server.server_port)
    assert (status, body) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Python" not in headers["Server"]
    status, body, headers = ask(server.server_port, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(PAGE)))
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    "path", ["/index.html", "/?", "/../../etc/passwd", "/%2e%2e/", "", "*", "/graph.html", "/favicon.ico"]
)
def test_nothing_else_is_served(server: PageServer, path: str) -> None:
    status, body, _ = ask(server.server_port, path or "x")
    assert status == 404
    assert PAGE not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent(server: PageServer, method: str) -> None:
    status, body, _ = ask(server.server_port, method=method)
    assert status == 501
    assert PAGE not in body


def test_a_request_for_another_host_is_refused(server: PageServer) -> None:
    port = server.server_port
    own = f"{HOST}:{port}"
    for hosts in ((own,), (f"localhost:{port}",), (f"LOCALHOST:{port}",)):
        assert ask(port, hosts=hosts)[0] == 200
    refused = [
        f"evil.example:{port}",
        "evil.example",
        HOST,
        "localhost",
        f"{HOST}:{port + 1}",
        f"{HOST}.evil.example:{port}",
        "",
    ]
    for hosts in ((), *((host,) for host in refused), (own, own), (own, "evil.example")):
        status, body, _ = ask(port, hosts=hosts)
        assert (status, body) == (403, b"Forbidden\n")


def test_only_the_loopback_address_listens(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_silent_connection_blocks_no_one(server: PageServer) -> None:
    with socket.create_connection((HOST, server.server_port)):
        assert ask(server.server_port)[0] == 200


def test_a_graph_of_any_format_becomes_the_page_that_save_writes(tmp_path: Path) -> None:
    page = graph().save(tmp_path / "graph.html").read_bytes()
    assert page_of(graph().save(tmp_path / "graph.json")) == page
    assert page_of(tmp_path / "graph.html") == page
    assert page_of(graph().save(tmp_path / "LOUD.JSON")) == page
    for format in ("json.gz", "graphml", "csv", "node-link.json"):
        assert page_of(graph().save(tmp_path / f"again.{format}")) == page


def test_what_holds_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text("<h1>Hello</h1>")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "graph.txt").write_text("")
    (tmp_path / "folder.html").mkdir()
    for name, message in (
        ("other.html", "does not hold an attribution graph"),
        ("other.json", "does not hold an attribution graph"),
        ("graph.txt", "No format is known"),
        ("graph.svg", "only written to"),
        ("folder.html", "cannot be read: Is a directory"),
        ("nothing.html", "cannot be read: No such file"),
        ("nothing.json", "cannot be read: No such file"),
    ):
        with pytest.raises(InputError, match=message):
            page_of(tmp_path / name)


def test_a_port_that_is_taken_or_does_not_exist_is_refused(server: PageServer) -> None:
    with pytest.raises(InputError, match=f"Port {server.server_port} cannot be used: Address already in use. Choose"):
        PageServer(PAGE, server.server_port)
    for port in (-1, 65536):
        with pytest.raises(InputError, match=f"from 1 to 65535, or 0 for any that is free. Got {port}"):
            PageServer(PAGE, port)


@pytest.mark.parametrize("open_browser", [True, False])
def test_the_browser_opens_only_if_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_browser: bool
) -> None:
    path = graph().save(tmp_path / "graph.html")
    opened, said = threading.Event(), []
    addresses = []

    def browse(url: str) -> bool:
        addresses.append(url)
        opened.set()
        return True

    def wait(self: PageServer) -> None:
        if open_browser:
            assert opened.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", browse)
    monkeypatch.setattr(PageServer, "serve_forever", wait)
    page_server.view(path, open_browser=open_browser, say=said.append)
    assert addresses == ([said[0].split(" ")[0]] if open_browser else [])
    assert said[-1] == "Stopped."


# --- the command -----------------------------------------------------------------------------------------------------


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recursive_dla", "view", *arguments]
    # A shell starts what runs in the background with Ctrl-C ignored, and children with what it is itself.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as a POSIX signal")
@pytest.mark.parametrize("suffix", [".html", ".json"])
def test_the_command_prints_the_address_and_ctrl_c_stops_it(tmp_path: Path, suffix: str) -> None:
    page = graph().save(tmp_path / "graph.html").read_bytes()
    process = start(str(graph().save(tmp_path / f"graph{suffix}")), "--no-open")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        port = int(line.removeprefix("http://127.0.0.1:").split("/")[0])
        assert ask(port)[:2] == (200, page)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (out, err, process.returncode) == ("Stopped.\n", "", 0)


def test_bad_input_ends_in_one_line_and_status_2(tmp_path: Path, server: PageServer) -> None:
    page = str(graph().save(tmp_path / "graph.html"))
    processes = {
        "cannot be read": start(str(tmp_path / "nothing.json"), "--no-open"),
        "No format is known": start(__file__, "--no-open"),
        "cannot be used": start(page, "--no-open", "--port", str(server.server_port)),
        "from 1 to 65535": start(page, "--no-open", "--port", "99999"),
    }
    for message, process in processes.items():
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("Error: ")
        assert message in err
