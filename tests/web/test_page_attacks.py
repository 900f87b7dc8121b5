"""Attacks on what gradio takes from a browser: events, uploads, and paint of the mask editor."""

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from bombs import EPS, HTML, SVG, png_header, text_bomb
from driving import needed
from starlette.testclient import TestClient
from watched import file_of, picture

from noisespace.errors import InputError
from noisespace.web.engine import Engine
from noisespace.web.limits import MIB, Limits
from noisespace.web.multipart import FormPart, parts_of
from noisespace.web.paints import BYTES, Paints, check_head
from noisespace.web.server import create_app

pytestmark = needed()
HERE = "http://127.0.0.1:7860"
PAINT = "/gradio_api/component_server/"
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


def stroke():
    layer = np.zeros((64, 64, 4), np.uint8)
    layer[10:20, 10:20] = (232, 89, 12, 255)
    return file_of(layer)


def painted(client, editor, data=None, files=None, **changes):
    """What the editor of masks posts for one layer."""
    fields = {"component_id": str(editor), "fn_name": "accept_blobs", "session_hash": "abc"}
    fields |= {"id": "k3x", "type": "layer", "index": "0", **changes}
    fields = {name: value for name, value in fields.items() if value is not None}
    given = files or [("file", ("layer_0.png", stroke() if data is None else data))]
    return client.post(PAINT, data=fields, files=given)


def test_paint_of_the_pages_own_editors_is_taken(served, config):
    """The attacks below can fail: the same way in, with what the page sends."""
    for place in ("painter", "colours"):
        answer = painted(served, component(config, place))
        assert (answer.status_code, answer.content) == (200, b"null")
    answer = painted(served, component(config, "painter"), type="background", index="null")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "make",
    [
        lambda: png_header(60_000, 60_000),
        lambda: png_header(2049, 2049),
        text_bomb,
        lambda: SVG,
        lambda: HTML,
        lambda: EPS,
        lambda: b"",
        lambda: file_of(picture(), "GIF"),
        lambda: file_of(picture(), "TIFF"),
        lambda: bytes(BYTES + 1),
    ],
    ids=["bomb", "wide", "text", "svg", "html", "eps", "empty", "gif", "tiff", "large"],
)
def test_what_is_no_paint_is_refused(served, config, make):
    answer = painted(served, component(config, "painter"), make())
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    "changes",
    [
        {"component_id": "1"},
        {"component_id": "-1"},
        {"component_id": "../../etc/passwd"},
        {"fn_name": "preprocess"},
        {"fn_name": "__init__"},
        {"index": "1000000000"},
        {"index": "-1"},
        {"type": "mask"},
        {"id": "../../../tmp/x"},
        {"id": "x" * 1000},
        {"id": ""},
        {"session_hash": None},
        {"more": "1"},
    ],
    ids=str,
)
def test_foreign_components_functions_and_fields_are_refused(served, config, changes):
    answer = painted(served, component(config, "painter"), **changes)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_forms_in_crowds_and_in_ruins_are_refused(served, config):
    client, editor = served, component(config, "painter")
    many = [("file", (f"layer_{k}.png", stroke())) for k in range(500)]
    assert "more than" in painted(client, editor, files=many).json()["error"]
    assert painted(client, editor, files=many[:2]).status_code == 400
    body = {"data": {}, "component_id": editor, "fn_name": "accept_blobs", "session_hash": "a"}
    assert client.post(PAINT, json=body).status_code == 400
    kind = "multipart/form-data; boundary=xyz"
    whole = b'--xyz\r\ncontent-disposition: form-data; name="id"\r\n\r\n1\r\n--xyz--\r\n'
    for broken in (
        b"", b"--xyz", whole[:-8], b"garbage", whole.replace(b"name=", b"nome="),
        whole.replace(b'"id"', b'"' + b"x" * 5000 + b'"'), b"\0" * 1000,
    ):  # fmt: skip
        for path in (PAINT, UPLOAD):
            answer = client.post(path, content=broken, headers={"content-type": kind})
            assert answer.status_code == 400, (path, broken)
            assert answer.json()["error"]
    for wrong in (
        "multipart/form-data",
        "text/plain",
        f"multipart/form-data; boundary={'x' * 999}",
    ):
        answer = client.post(PAINT, content=whole, headers={"content-type": wrong})
        assert answer.status_code == 400


def layer_parts(key, data, index=0, editor=7):
    fields = {"component_id": str(editor), "fn_name": "accept_blobs", "session_hash": "a"}
    fields |= {"id": key, "type": "layer", "index": str(index)}
    parts = [FormPart(name, None, value.encode()) for name, value in fields.items()]
    return [*parts, FormPart("file", "layer.png", data)]


def test_paint_is_bounded_and_taken_once():
    clock = [0.0]
    paints = Paints(most=3, bytes=10**6, seconds=60, clock=lambda: clock[0])
    paints.editors = frozenset({7, 8})
    for k in range(10):
        paints.put(layer_parts(f"id{k}", stroke()))
    assert len(paints) == 3
    assert paints.take(7, "id0") == []
    assert paints.take(8, "id9") == []  # another editor's
    assert [one.size for one in paints.take(7, "id9")] == [(64, 64)]
    assert paints.take(7, "id9") == []
    for k in (1, 0):
        paints.put(layer_parts("two", stroke(), k))
    assert len(paints.take(7, "two")) == 2
    clock[0] = 100
    paints.put(layer_parts("new", stroke()))
    assert len(paints) == 1
    small = Paints(bytes=3 * len(stroke()))
    small.editors = frozenset({7})
    for k in range(10):
        small.put(layer_parts(f"id{k}", stroke()))
    assert len(small) == 3


def test_damaged_paint_is_a_sentence():
    paints = Paints()
    paints.editors = frozenset({7})
    paints.put(layer_parts("cut", stroke()[:60]))
    with pytest.raises(InputError, match="paint once more"):
        paints.take(7, "cut")


def test_forms_come_apart_as_they_were_put_together():
    body = (
        b'--b\r\ncontent-disposition: form-data; name="id"\r\n\r\nabc\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"content-type: image/png\r\n\r\n\0\r\n--x\r\n--b--\r\n"
    )
    id_, file = parts_of(body, "multipart/form-data; boundary=b", 2)
    assert (id_.name, id_.file, id_.text) == ("id", None, "abc")
    assert (file.name, file.file, file.data) == ("file", "a.png", b"\0\r\n--x")
    with pytest.raises(InputError, match="no text"):
        _ = FormPart("x", None, b"\xff").text
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


def paged(app, engine, paints):
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
    "deep_link", "openapi.json", "token", "user", "login", "dev/reload", "queue/status",
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


def test_a_crowd_of_painters_is_held_within_bounds(served, config):
    """200 at once: all are answered, and what is kept stays bounded."""
    client, editor = served, component(config, "painter")
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 4), dtype=np.uint8)
    data = file_of(noise)  # one MiB
    assert len(data) > MIB / 2

    async def go():
        async with httpx.AsyncClient(base_url=client.base_url, timeout=120) as crowd:

            async def one(k):
                fields = {"component_id": str(editor), "fn_name": "accept_blobs", "id": f"id{k}"}
                fields |= {"session_hash": "a", "type": "layer", "index": "0"}
                return await crowd.post(PAINT, data=fields, files={"file": ("a.png", data)})

            return await asyncio.gather(*(one(k) for k in range(200)))

    answers = asyncio.run(go())
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all(answer.status_code == 200 or answer.json()["error"] for answer in answers)
