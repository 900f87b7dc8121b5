"""Attacks: other people's pages, bombs, crowds. Each refusal comes before anything is read."""

import asyncio
import base64
import io
import json

import httpx
import numpy as np
import psutil
import pytest
from bombs import EPS, HTML, SVG, png_header, text_bomb
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient
from watched import SOURCE, TARGET, file_of, picture

from noisespace.web.access import Access, same_place
from noisespace.web.bodies import Bodies
from noisespace.web.engine import Engine
from noisespace.web.limits import MIB, Limits
from noisespace.web.routes import routes
from noisespace.web.server import create_app
from noisespace.web.serving import Api
from noisespace.web.uploads import Uploads
from noisespace.web.watching import Metrics

HERE = "127.0.0.1:7860"


@pytest.fixture
def app(engine):
    return create_app(engine)


@pytest.fixture
def client(app):
    with TestClient(app, base_url=f"http://{HERE}") as client:
        yield client


def unread(app, path="/api/edit", method="POST", **headers):
    """The status of a request whose body must not be read."""
    sent, read = [], []

    async def receive():
        read.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    given = {"host": HERE, "content-type": "application/json", **headers}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 7860),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items()],
    }
    asyncio.run(app(scope, receive, send))
    assert not read, "the body was read"
    headers = dict(sent[0]["headers"])
    assert headers[b"x-content-type-options"] == b"nosniff"  # refusals have them, too
    assert json.loads(sent[1]["body"])["error"]
    return sent[0]["status"]


HOSTS = (
    "evil.example",
    "evil.example:7860",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.example@127.0.0.1",
    "127.0.0.1:7860/evil",
    "127.0.0.1:port",
    "192.168.0.7",
    "",
)


@pytest.mark.parametrize("host", HOSTS)
def test_a_rebound_name_is_refused_before_the_body(app, host):
    for path in ("/api/edit", "/", "/healthz", "/gradio_api/upload"):
        assert unread(app, path, host=host) == 400


def test_without_the_guard_these_tests_fail(engine):
    """The routes alone read the body of whoever comes."""
    bare = FastAPI()
    bare.include_router(routes(Api(engine, Uploads(engine.limits), Access(), Metrics(engine))))
    with pytest.raises(AssertionError, match="the body was read"):
        unread(bare, host="evil.example")
    with pytest.raises(AssertionError, match="the body was read"):
        unread(bare, origin="http://evil.example")


def test_our_own_names_are_known(client):
    for host in (HERE, "localhost:7860", "LOCALHOST", "[::1]:7860", "127.0.0.1"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200, host
    shared = Access("0.0.0.0", ("photos.example",), "a long token")
    assert all(map(shared.allows, ("photos.example", "192.168.0.7:7860", "Photos.Example:80")))
    assert not any(map(shared.allows, ("evil.example", "photos.example.evil.example", None)))


ORIGINS = (
    "http://evil.example",
    "https://evil.example",
    "http://localhost:7860.evil.example",
    "http://127.0.0.1:8000",
    "http://127.0.0.1",
    "null",
    "file://",
    "http://[",
)


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_foreign_page_is_refused_before_the_body(app, origin):
    assert unread(app, origin=origin) == 403
    assert unread(app, "/gradio_api/upload", origin=origin) == 403
    # what a form of another page can send without asking
    assert unread(app, origin=origin, **{"content-type": "text/plain"}) == 403


def test_a_page_of_another_site_is_refused_without_an_origin_too(app, client):
    assert unread(app, sec_fetch_site="cross-site") == 403
    link = client.get("/healthz", headers={"sec-fetch-site": "cross-site"})  # following a link
    assert link.status_code == 200


def test_our_own_page_may_post(client):
    answer = client.post("/api/edit", json={}, headers={"origin": f"http://{HERE}"})
    assert answer.status_code == 422  # it came through to the fields
    assert same_place("https://photos.example", "photos.example:443")
    assert not same_place("https://photos.example", "photos.example:7860")
    assert "access-control-allow-origin" not in answer.headers


def test_a_websocket_of_another_page_is_closed(app):
    sent = []

    async def send(message):
        sent.append(message)

    origin = [(b"host", HERE.encode()), (b"origin", b"http://evil.example")]
    scope = {"type": "websocket", "path": "/", "headers": origin, "query_string": b""}
    asyncio.run(app(scope, None, send))
    assert sent[0]["type"] == "websocket.close"


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/jobs/..%2f..%2f..%2fetc%2fpasswd",
        "/api/jobs/" + "0" * 32 + "/images/..%2f..%2f0",
        "/api/jobs/" + "0" * 32 + "/code.safetensors",
        "/api/uploads/..%2f..%2fetc%2fpasswd",
        "/file=/etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/static/../../etc/passwd",
        "/api/jobs/%00",
    ],
)
def test_no_path_leads_out(client, path):
    for method in ("GET", "DELETE"):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405, 422), path
        assert "root:" not in answer.text


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.new("L", (6000, 6000)).save(buffer, kind, **options)  # 36 Mpx in a few kB
    return buffer.getvalue()


def rss():
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize(
    "make",
    [
        lambda: png_header(60_000, 60_000),
        lambda: png_header(2**31 - 1, 2**31 - 1),
        lambda: saved("PNG"),
        lambda: saved("WEBP", lossless=True, method=0),
        lambda: saved("TIFF", compression="tiff_deflate"),
        lambda: saved("GIF"),
        text_bomb,
    ],
    ids=["header", "largest", "png", "webp", "tiff", "gif", "text"],
)
def test_bombs_do_not_go_off(client, make):
    bomb = make()
    assert len(bomb) < 2 * MIB
    before = rss()
    answer = client.post("/api/uploads", content=bomb)
    assert answer.status_code == 400, answer.text
    assert rss() - before < 100 * MIB
    assert "\n" not in answer.json()["error"]
    body = {"image": base64.b64encode(bomb).decode(), "targets": [TARGET]}
    assert client.post("/api/edit", json=body).status_code == 400
    assert client.post("/api/edit", json={**body, "image": None}).status_code == 400


def test_a_picture_within_the_limit_is_taken(client):
    """The tests above can fail: the same way in, a size that is allowed."""
    assert client.post("/api/uploads", content=file_of(picture(size=(900, 900)))).status_code == 201


@pytest.mark.parametrize(
    "data", [SVG, HTML, EPS, b"", b"%PDF-1.7", b"PK\3\4" + bytes(99), b"GIF89a"]
)
def test_what_is_no_picture_is_refused(client, data):
    answer = client.post("/api/uploads", content=data, headers={"content-type": "image/png"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"


def test_markup_behind_a_picture_does_not_come_out_again(client):
    """A file that is a picture and a page at once: what goes out is a PNG made anew."""
    sent = client.post("/api/uploads", content=file_of(picture()) + HTML)
    body = {"upload": sent.json()["upload"], "source": SOURCE, "steps": 3, "targets": [TARGET]}
    job = client.post("/api/edit", json=body).json()["id"]
    client.get(f"/api/jobs/{job}", params={"wait": 30})
    data = client.get(f"/api/jobs/{job}/images/0")
    assert data.headers["content-type"] == "image/png"
    assert data.headers["x-content-type-options"] == "nosniff"
    assert b"<script>" not in data.content


def streamed(app, parts, **headers):
    """The answer to a body that comes in parts, and how many of them were read."""
    read = 0

    async def body():
        nonlocal read
        for part in parts:
            read += 1
            yield part

    async def go():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HERE}") as client:
            return await client.post("/api/uploads", content=body(), headers=headers)

    return asyncio.run(go()), read


def test_a_body_is_cut_off_while_it_comes_in(model):
    with Engine({"tiny": model}, Limits(upload_bytes=MIB)) as engine:
        app = create_app(engine)
        answer, read = streamed(app, [b"x" * 2**18] * 1000)
        assert answer.status_code == 413
        assert read < 20
        answer, read = streamed(app, [b"x" * 2**18] * 1000, **{"content-length": str(2**40)})
        assert (answer.status_code, read) == (413, 0)
        answer, read = streamed(app, [b"x"] * 5)
        assert (answer.status_code, read) == (400, 5)  # read whole, and no picture


def test_bodies_together_and_their_time_are_bounded():
    async def reads(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.2)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def one(app, wait=0.0):
        sent = []

        async def receive():
            await asyncio.sleep(wait)
            return {"type": "http.request", "body": b"x" * 100, "more_body": False}

        async def send(message):
            sent.append(message)

        await app({"type": "http", "headers": []}, receive, send)
        return sent[0]["status"]

    async def go():
        app = Bodies(reads, 1000, 350, seconds=0.3)
        crowd = await asyncio.gather(*(one(app) for _ in range(6)))
        return sorted(crowd), app.held, await one(app), await one(app, wait=5)

    assert asyncio.run(go()) == ([200, 200, 200, 503, 503, 503], 0, 200, 408)


def test_a_crowd_of_200_is_refused_politely(model):
    limits = Limits(queue=5, queue_owner=2)
    image = base64.b64encode(file_of(picture(size=(300, 300)))).decode()
    body = json.dumps({"image": image, "source": SOURCE, "steps": 3, "targets": [TARGET]})

    async def go(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HERE}") as client:
            kind = {"content-type": "application/json"}

            async def one(i):
                heads = {**kind, "x-session": f"somebody number {i // 4:04}"}
                return await client.post("/api/edit", content=body, headers=heads, timeout=120)

            answers = await asyncio.gather(*(one(i) for i in range(200)))
            return answers, await client.get("/healthz")

    with Engine({"tiny": model}, limits) as engine:
        app = create_app(engine)
        model.hold()
        before = rss()
        answers, health = asyncio.run(go(app))
        grown = rss() - before
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {202, 429, 503}
        assert 5 <= statuses.count(202) <= 6  # the queue, and the one that runs
        refused = [answer for answer in answers if answer.status_code != 202]
        assert all(answer.headers["retry-after"] and answer.json()["error"] for answer in refused)
        assert health.json()["waiting"] == 5
        assert grown < 400 * MIB
        model.release()
        assert all(job.wait(60) for job in list(engine._jobs.values()))
        assert {job.state for job in engine._jobs.values()} == {"done"}


def test_headers_of_every_answer(client):
    for path in ("/healthz", "/api/nothing", "/api/openapi.json"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_a_masks_values_are_no_code(client):
    bad = np.zeros((32, 32, 3), np.uint8)
    body = {"image": base64.b64encode(file_of(picture())).decode(), "targets": [TARGET]}
    answer = client.post(
        "/api/edit", json={**body, "mask_image": base64.b64encode(file_of(bad)).decode()}
    )
    assert (answer.status_code, "empty" in answer.json()["error"]) == (400, True)
