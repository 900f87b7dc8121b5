"""Attacks on what the page takes from a browser: events, uploads, and strokes on its boards."""

import asyncio
import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from bombs import EPS, HTML, SVG, png_header, text_bomb
from driving import needed
from starlette.testclient import TestClient
from watched import file_of, picture

from noisespace.errors import InputError
from noisespace.web.boards import PAINT, Board
from noisespace.web.engine import Engine
from noisespace.web.limits import MIB, Limits
from noisespace.web.multipart import parts_of
from noisespace.web.paints import BYTES, check_head
from noisespace.web.server import create_app
from noisespace.web.session import Photo, Session

pytestmark = needed()
HERE = "http://127.0.0.1:7860"
UPLOAD = "/gradio_api/upload"


@pytest.fixture(scope="module")
def served(url):
    """A client of the server with its page, as people start it."""
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def config(served):
    return served.get("/config").json()


def component(config, place):
    return next(c["id"] for c in config["components"] if c["props"].get("elem_id") == place)


def stroke(side=64):
    layer = np.zeros((side, side, 4), np.uint8)
    layer[10:20, 10:20] = (232, 89, 12, 255)
    return file_of(layer)


def strokes(data=None, board=1, **changes):
    """What a board of the page sends, as text."""
    png = base64.b64encode(stroke(512) if data is None else data).decode()
    return json.dumps({"board": board, "png": png, **changes})


@pytest.fixture
def board():
    """A board that was drawn once, and whose it is."""
    session = Session()
    session.photo = Photo("", "", (64, 64))
    shown = SimpleNamespace(elem_id="painter")
    board = Board(shown, None, "Paint", ((PAINT, "Orange"),))
    session.boards = {"painter": 1}
    return lambda sent: board.read(session, sent)


def test_strokes_of_the_pages_own_boards_are_taken(board):
    """The attacks below can fail: the same way in, with what the page sends."""
    assert board(strokes()).size == (512, 512)
    assert board(strokes(board=0)) is None  # of the board before


@pytest.mark.parametrize(
    "make",
    [
        lambda: png_header(60_000, 60_000),
        lambda: png_header(513, 512),
        lambda: png_header(1, 262_144),
        lambda: stroke(256),
        text_bomb,
        lambda: SVG,
        lambda: HTML,
        lambda: EPS,
        lambda: b"",
        lambda: stroke(512)[:60],
        lambda: file_of(picture(size=(512, 512)), "GIF"),
        lambda: file_of(picture(size=(512, 512)), "WEBP"),
        lambda: bytes(BYTES + 1),
    ],
    ids=[
        *("bomb", "wide", "long", "small", "text", "svg", "html", "eps", "empty", "cut", "gif"),
        *("webp", "large"),
    ],
)
def test_what_is_no_paint_is_refused(board, make):
    with pytest.raises(InputError) as refused:
        board(strokes(make()))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sent",
    [
        "", "{", "null", "[]", None, 7, {"board": 1}, "[" * 100_000, strokes(more=1),
        strokes(board="1"), strokes(board=1.5), strokes(png=None), strokes(png="~~~~"),
        strokes(png="data:image/png;base64,AAAA"), strokes(png="http://evil.example/a.png"),
    ],
    ids=lambda sent: str(sent)[:20],
)  # fmt: skip
def test_garbage_in_place_of_strokes_is_refused(board, sent):
    with pytest.raises(InputError, match="paint once more"):
        board(sent)


def test_an_event_with_too_much_paint_is_refused(served, config):
    painter = component(config, "painter-strokes")
    event = next(d for d in config["dependencies"] if [painter, "change"] in d["targets"])
    for size, status in ((1, 200), (3 * MIB, 413)):
        body = {"data": [None, "x" * size], "fn_index": event["id"], "session_hash": "abc"}
        assert served.post("/gradio_api/run/predict", json=body).status_code == status


def test_forms_in_crowds_and_in_ruins_are_refused(served):
    client = served
    many = [("files", (f"photo-{k}.png", stroke())) for k in range(500)]
    assert "more than" in client.post(UPLOAD, files=many).json()["error"]
    assert client.post(UPLOAD, json={"files": []}).status_code == 400
    kind = "multipart/form-data; boundary=xyz"
    whole = b'--xyz\r\ncontent-disposition: form-data; name="id"\r\n\r\n1\r\n--xyz--\r\n'
    for broken in (
        b"", b"--xyz", whole[:-8], b"garbage", whole.replace(b"name=", b"nome="),
        whole.replace(b'"id"', b'"' + b"x" * 5000 + b'"'), b"\0" * 1000,
    ):  # fmt: skip
        answer = client.post(UPLOAD, content=broken, headers={"content-type": kind})
        assert answer.status_code == 400, broken
        assert answer.json()["error"]
    for wrong in (
        "multipart/form-data",
        "text/plain",
        f"multipart/form-data; boundary={'x' * 999}",
    ):
        answer = client.post(UPLOAD, content=whole, headers={"content-type": wrong})
        assert answer.status_code == 400


def test_forms_come_apart_as_they_were_put_together():
    body = (
        b'--b\r\ncontent-disposition: form-data; name="id"\r\n\r\nabc\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"content-type: image/png\r\n\r\n\0\r\n--x\r\n--b--\r\n"
    )
    id_, file = parts_of(body, "multipart/form-data; boundary=b", 2)
    assert (id_.name, id_.file, id_.data) == ("id", None, b"abc")
    assert (file.name, file.file, file.data) == ("file", "a.png", b"\0\r\n--x")
    check_head(file_of(picture()), "x", ("PNG",), 32 * 32)
    with pytest.raises(InputError, match="expected JPEG or WEBP"):
        check_head(file_of(picture()), "x", ("JPEG", "WEBP"), 32 * 32)


def sent(client, data, name="photo.png"):
    return client.post(UPLOAD, files={"files": (name, data, "image/png")})


@pytest.mark.parametrize(
    "make",
    [
        lambda: SVG,
        lambda: HTML,
        lambda: EPS,
        lambda: b"",
        lambda: b"PK\3\4" + bytes(99),
        lambda: png_header(60_000, 60_000),
        text_bomb,
    ],
    ids=["svg", "html", "eps", "empty", "zip", "bomb", "text"],
)
def test_an_upload_that_is_no_picture_is_not_kept(served, make):
    answer = sent(served, make())
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


def test_a_picture_is_kept_and_given_back_as_one(served):
    client = served
    answer = sent(client, file_of(picture()) + HTML, "../../photo.html")
    (path,) = answer.json()
    assert ".." not in path
    back = client.get(f"/gradio_api/file={path}")
    assert back.headers["x-content-type-options"] == "nosniff"
    assert "html" not in back.headers["content-type"] or "attachment" in back.headers.get(
        "content-disposition", ""
    )
    text = client.post(UPLOAD, data={"files": "x"}, files={"more": ("a.png", stroke())})
    assert text.status_code == 400
    many = [("files", (f"{k}.png", stroke())) for k in range(100)]
    assert client.post(UPLOAD, files=many).status_code == 400


def test_files_do_not_fill_the_disk(network, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with Engine({"tiny": network}, Limits(uploads_bytes=1000)) as engine:
        client = TestClient(create_app(engine, page=paged), base_url=HERE)
        assert sent(client, stroke()).status_code == 200
        (tmp_path / "a").write_bytes(bytes(3000))
        assert sent(client, stroke()).status_code == 503


def paged(app, engine):
    """In place of the page: says what reached it."""

    @app.post("/gradio_api/{path:path}")
    async def reached(path: str) -> dict:
        return {"path": path}


LINKS = (
    "http://evil.example/a.png",
    "https://huggingface.co/a.png",
    " HTTPS://evil.example",
    "file:///etc/passwd",
    "//evil.example/a",
    "data:image/svg+xml,<svg/>",
)


@pytest.mark.parametrize("link", LINKS)
def test_an_event_of_the_page_names_no_url(engine, monkeypatch, tmp_path, link):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    client = TestClient(create_app(engine, page=paged), base_url=HERE)
    event = {"data": [1, {"deep": [{"path": link, "meta": {"_type": "gradio.FileData"}}]}]}
    answer = client.post("/gradio_api/queue/join", json=event)
    assert answer.status_code == 403
    event["data"][1]["deep"][0]["path"] = str(tmp_path / "a" / "photo.png")
    assert client.post("/gradio_api/queue/join", json=event).json() == {"path": "queue/join"}
    assert client.post("/gradio_api/run/predict", content=b"{").status_code == 422
    deep = b"[" * 100_000
    assert client.post("/gradio_api/run/predict", content=deep).status_code == 422
    wide = b"[" + b"[]," * 1_000_000 + b"1]"
    assert client.post("/gradio_api/run/predict", content=wide).status_code == 413
    assert client.get(f"/gradio_api/file={link.strip()}").status_code == 404


OTHERS = (
    "proxy=http://evil.example/", "vibe-edit", "vibe-edit/", "vibe-code", "undo-vibe-edit",
    "process_recording", "call/predict", "call/v2/predict", "api/predict", "stream/abc",
    "stream/abc/close", "runs", "monitoring", "custom_component/1/client/component/x.js",
    "deep_link", "component_server", "openapi.json", "token", "user", "login", "dev/reload",
    "queue/status",
)  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_routes_of_gradio_that_the_page_does_not_need_are_not_there(served, name):
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert served.request(method, f"/gradio_api/{name}").status_code == 404


def test_an_event_reads_no_file_of_the_server(served, config, tmp_path):
    client = served
    photo = component(config, "photo")
    event = next(d for d in config["dependencies"] if [photo, "upload"] in d["targets"])
    secret = tmp_path / "secret.png"
    secret.write_bytes(stroke())
    inside = str(Path(sent(client, stroke()).json()[0]).parent / "../../../../../../etc/passwd")
    for path in ("/etc/passwd", str(secret), "../../etc/passwd", inside, "/proc/self/environ"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {"data": [None, file], "fn_index": event["id"], "session_hash": "abc"}
        answer = client.post("/gradio_api/run/predict", json=body)
        assert answer.status_code == 403, answer.text
        assert "is uploaded here" in answer.json()["error"]


def test_a_crowd_of_painters_is_answered(served, config):
    """200 strokes at once of somebody with a large photo, each a canvas full of noise."""

    def event(target, name):
        return next(d["id"] for d in config["dependencies"] if [target, name] in d["targets"])

    def body(number, *data):
        return {"data": data, "fn_index": number, "session_hash": "crowd"}

    begun = next(d["id"] for d in config["dependencies"] if d["targets"][0][1] == "load")
    photo, painter = component(config, "photo"), component(config, "painter-strokes")
    large = file_of(np.zeros((3000, 4000, 3), np.uint8))
    path = sent(served, large).json()[0]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    post = "/gradio_api/run/predict"
    for number, data in ((begun, [{"visitor": ""}]), (event(photo, "upload"), [None, file])):
        assert served.post(post, json=body(number, *data)).status_code == 200
    noise = np.random.default_rng(0).integers(0, 255, (384, 512, 4), dtype=np.uint8)
    noise[..., 3] = 255
    data = file_of(noise)
    assert MIB / 2 < len(data) < BYTES
    stroke_event = event(painter, "change")
    late = served.post(post, json=body(stroke_event, None, strokes(data, board=0))).text
    number = int(re.findall(r'data-number=\\"(\d+)', late)[0])  # it got the board of now
    painted = body(stroke_event, None, strokes(data, board=number))

    async def go():
        async with httpx.AsyncClient(base_url=served.base_url, timeout=240) as crowd:
            return await asyncio.gather(*(crowd.post(post, json=painted) for _ in range(200)))

    answers = asyncio.run(go())
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all(answer.status_code == 200 or answer.json()["error"] for answer in answers)
    assert sum("The mask covers" in answer.text for answer in answers) > 20
