"""The HTTP API: what a program can do, and what it is told where it cannot."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from watched import LONG, SOURCE, TARGET, file_of, picture

import noisespace as ns
from noisespace.core.code import Code
from noisespace.errors import InputError
from noisespace.pictures.metadata import read_record
from noisespace.web.access import Access
from noisespace.web.engine import Engine
from noisespace.web.limits import Limits
from noisespace.web.server import create_app
from noisespace.web.tokens import Failures, Once
from noisespace.web.watching import Log

HERE = "http://127.0.0.1:7860"
WORK = {"source": SOURCE, "steps": 6}


def client_of(engine, access=None, **options):
    return TestClient(create_app(engine, access, **options), base_url=HERE)


@pytest.fixture
def client(engine):
    with client_of(engine) as client:
        yield client


def text_of(array):
    return base64.b64encode(file_of(array)).decode()


def finished(client, answer, **options):
    assert answer.status_code == 202, answer.text
    url = f"/api/jobs/{answer.json()['id']}"
    for _ in range(LONG // 10):
        job = client.get(url, params={"wait": 10}, **options).json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
    raise AssertionError(job)


def edit(client, array=None, **changes):
    body = {"image": text_of(picture() if array is None else array), **WORK, "targets": [TARGET]}
    return client.post("/api/edit", json={**body, **changes})


def test_a_first_visit(client, network, tmp_path):
    sent = client.post("/api/uploads", content=file_of(picture()))
    assert (sent.status_code, sent.json()["width"]) == (201, 32)
    upload = sent.json()["upload"]
    inverted = finished(client, client.post("/api/invert", json={"upload": upload, **WORK}))
    assert inverted["result"]["inverted"]
    body = {"upload": upload, **WORK, "targets": [TARGET, "a red dog"], "mask": "diffedit:maps=2"}
    job = finished(client, client.post("/api/edit", json=body))
    result = job["result"]
    assert (result["inverted"], len(result["images"])) == (False, 2)
    data = client.get(result["images"][1]["url"]).content
    (tmp_path / "out.png").write_bytes(data)
    record = read_record(tmp_path / "out.png")
    assert record == result["images"][1]["record"]
    assert record["picture"]["prompt"] == "a red dog"
    code = ns.invert(network, picture(), SOURCE, steps=6)
    want = ns.edit(network, code, [TARGET, "a red dog"], mask=ns.DiffEdit(maps=2))
    got = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(got, np.asarray(want.images[1]))
    for name in ("reconstruction", "mask"):
        shown = client.get(result[name])
        assert Image.open(io.BytesIO(shown.content)).size == (32, 32)
    (tmp_path / "code.safetensors").write_bytes(client.get(result["code_url"]).content)
    assert Code.load(tmp_path / "code.safetensors").prompt == SOURCE
    again = client.post("/api/edit", json={"code": result["code"], "targets": [TARGET]})
    assert finished(client, again)["result"]["inverted"] is False


def test_every_kind_of_work(client):
    given = {"image": text_of(picture()), **WORK}
    looked = client.post("/api/attention", json={**given, "words": ["cat"]})
    looked = finished(client, looked)["result"]
    assert looked["words"] == ["cat"]
    assert client.get(looked["images"][0]["url"]).headers["content-type"] == "image/png"
    mask = client.post("/api/mask", json={**given, "target": TARGET, "mask": "attention:word=cat"})
    assert finished(client, mask)["result"]["mask"]
    combos = [{"method": "ddim"}, {"method": "ddim", "guidance": 2}]
    compared = client.post("/api/compare", json={**given, "target": TARGET, "combos": combos})
    cells = finished(client, compared)["result"]["cells"]
    assert len({client.get(cell["url"]).content for cell in cells}) == 2
    strokes = np.zeros((32, 32, 4), np.uint8)
    strokes[:16] = 255
    paint = {"strokes": text_of(strokes), "strength": 0.1}
    body = {"code": looked["code"], "operations": ["shift:dx=8", paint]}
    assert finished(client, client.post("/api/operation", json=body))["result"]["reconstruction"]
    painted = np.zeros((32, 32, 3), np.uint8)
    painted[:16] = 255
    answer = edit(client, mask_image=text_of(painted))
    assert finished(client, answer)["result"]["mask"]


def test_a_zip_holds_all_of_a_result(client):
    strokes = np.zeros((32, 32, 4), np.uint8)
    strokes[:16] = 255
    paint = {"strokes": text_of(strokes), "strength": 0.2}
    body = {"variants": 1, "targets": [TARGET, "a red dog"], "operations": ["shift:dx=8", paint]}
    result = finished(client, edit(client, mask="diffedit:maps=2", **body))["result"]
    answer = client.get(result["zip_url"])
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert set(files) == {
        "edit-1.png", "edit-2.png", "reconstruction.png", "mask.png", "record.json",
        "code.safetensors",
    }  # fmt: skip
    assert files["edit-2.png"] == client.get(result["images"][1]["url"]).content
    assert files["code.safetensors"] == client.get(result["code_url"]).content
    records = json.loads(files["record.json"])["records"]
    assert records == [one["record"] for one in result["images"]]
    assert [one.partition("(")[0] for one in records[0]["source"]["operations"]] == [
        "Shift", "ColorEdit",
    ]  # fmt: skip
    combos = [{"method": "ddim"}, {"method": "ddim", "guidance": 2}]
    asked = {"image": text_of(picture()), **WORK, "target": TARGET, "combos": combos}
    result = finished(client, client.post("/api/compare", json=asked))["result"]
    with zipfile.ZipFile(io.BytesIO(client.get(result["zip_url"]).content)) as archive:
        assert {"cell-1.png", "cell-2.png", "record.json"} <= set(archive.namelist())
        assert archive.read("cell-2.png") == client.get(result["cells"][1]["url"]).content
    schema = client.get("/api/openapi.json").json()
    described = schema["paths"]["/api/jobs/{id}/zip"]["get"]["responses"]["200"]
    assert "application/zip" in described["content"]


def test_cancel_delete_and_list(client, engine, model):
    model.hold()
    job = edit(client).json()
    assert model.entered.wait(LONG)
    waiting = edit(client).json()
    assert [one["id"] for one in client.get("/api/jobs").json()] == [job["id"], waiting["id"]]
    cancelled = client.post(f"/api/jobs/{waiting['id']}/cancel").json()
    assert cancelled["state"] == "cancelled"
    assert client.get(f"/api/jobs/{waiting['id']}/images/0").status_code == 404
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    model.release()
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404
    assert len(client.get("/api/jobs").json()) == 1


def test_people_do_not_see_each_others_things(client):
    anna, bert = ({"X-Session": name * 8} for name in ("anna", "bert"))
    body = {"image": text_of(picture()), **WORK, "targets": [TARGET]}
    job = finished(client, client.post("/api/edit", json=body, headers=anna), headers=anna)
    for path in ("", "/images/0", "/code", "/zip", "/reconstruction", "/preview"):
        assert client.get(f"/api/jobs/{job['id']}{path}", headers=bert).status_code == 404
        assert path == "/preview" or (
            client.get(f"/api/jobs/{job['id']}{path}", headers=anna).status_code == 200
        )
    assert client.post(f"/api/jobs/{job['id']}/cancel", headers=bert).status_code == 404
    assert client.delete(f"/api/jobs/{job['id']}", headers=bert).status_code == 404
    assert client.get("/api/jobs", headers=bert).json() == []
    code = {"code": job["result"]["code"], "targets": [TARGET]}
    assert client.post("/api/edit", json=code, headers=bert).status_code == 404
    sent = client.post("/api/uploads", content=file_of(picture()), headers=anna).json()["upload"]
    answer = client.post("/api/invert", json={"upload": sent}, headers=bert)
    assert (answer.status_code, "no such upload" in answer.json()["error"]) == (404, True)
    assert client.get("/api/jobs", headers={"X-Session": "short"}).status_code == 400


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"targets": []}, 422, "targets"),
        ({"targets": "a dog"}, 422, "targets"),
        ({"steps": 0}, 422, "steps"),
        ({"guidance": 1e9}, 422, "guidance"),
        ({"method": "nothing"}, 422, "not known"),
        ({"method": "sdedit:strokes=/etc/passwd"}, 422, "no client may"),
        ({"mask": "/etc/passwd"}, 422, "mask"),
        ({"path": "/etc/passwd"}, 422, "path"),
        ({"image": "http://127.0.0.1/a.png"}, 400, "base64"),
        ({"image": "../../etc/passwd"}, 400, "base64"),
        ({"image": base64.b64encode(b"<svg/>").decode()}, 400, "not an image"),
        ({"image": None}, 400, "give one of"),
        ({"upload": "0" * 32}, 404, "no such upload"),
        ({"editor": "prompt-to-prompt:blend=horse/dog"}, 400, "horse"),
        ({"variants": 60}, 400, "at most 16"),
        ({"model": "../scenes"}, 400, "no model"),
    ],
)
def test_refusals_are_sentences(client, changes, status, message):
    answer = edit(client, **changes)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_no_json_is_said_so(client):
    answer = client.post("/api/edit", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert client.get("/api/jobs/nothing").status_code == 422
    assert client.get("/api/nothing").json() == {"error": "Not Found"}
    assert client.get("/api/edit").status_code == 405


def test_health_models_and_metrics(client):
    assert client.get("/healthz").json()["status"] == "ok"
    assert [one["name"] for one in client.get("/api/models").json()] == ["tiny"]
    finished(client, edit(client))
    finished(client, edit(client))
    until = time.monotonic() + LONG
    while 'state="done"} 2.0' not in (text := client.get("/metrics").text):
        assert time.monotonic() < until  # a job is counted just after it is done
    assert 'noisespace_jobs_total{kind="edit",state="done"} 2.0' in text
    assert 'noisespace_inversions_total{source="known"} 1.0' in text
    assert "noisespace_jobs_waiting 0.0" in text
    assert 'noisespace_requests_total{method="POST",status="202"} 2.0' in text


def test_a_dead_engine_is_not_healthy(model):
    engine = Engine({"tiny": model})
    client = client_of(engine)
    assert client.get("/healthz").status_code == 200
    engine.close()
    assert client.get("/healthz").status_code == 503


@pytest.mark.parametrize("contents", [False, True])
def test_logs_hold_prompts_only_where_asked_for(engine, contents):
    stream = io.StringIO()
    with client_of(engine, log=Log(stream, contents=contents)) as client:
        finished(client, edit(client, source="a red horse", targets=["a blue tiger"]))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"submitted", "started", "ended", "request"} <= {line["event"] for line in lines}
    assert ("red horse" in stream.getvalue()) == ("blue tiger" in stream.getvalue()) == contents
    assert text_of(picture())[100:140] not in stream.getvalue()


def test_the_description_has_the_servers_limits(model):
    with Engine({"tiny": model}, Limits(variants=3, upload_bytes=3000)) as engine:
        schema = client_of(engine).get("/api/openapi.json").json()
    body = schema["components"]["schemas"]["EditBody"]["properties"]
    assert body["variants"]["maximum"] == 3
    assert body["image"]["anyOf"][0]["maxLength"] == 4100
    work = schema["paths"]["/api/edit"]["post"]["responses"]
    assert {"202", "400", "413", "422", "429", "503"} <= set(work)


def test_uploads_go_after_a_while(model):
    with Engine({"tiny": model}, Limits(lifetime=3)) as engine, client_of(engine) as client:
        upload = client.post("/api/uploads", content=file_of(picture())).json()["upload"]
        assert client.delete(f"/api/uploads/{upload}").status_code == 204
        assert client.delete(f"/api/uploads/{upload}").status_code == 404
        upload = client.post("/api/uploads", content=file_of(picture())).json()["upload"]
        time.sleep(3.1)
        assert client.post("/api/invert", json={"upload": upload}).status_code == 404


TOKEN = "correct horse battery"
SHARED = Access("0.0.0.0", ("photos.example",), TOKEN)


def test_others_are_let_in_with_the_token_alone(engine):
    client = client_of(engine, SHARED)
    refused = client.get("/api/models")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert client.get("/healthz").status_code == 200
    for right in (
        {"headers": {"authorization": f"Bearer {TOKEN}"}},
        {"auth": ("anybody", TOKEN)},
    ):
        assert client.get("/api/models", **right).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", "Basic !", f"Digest {TOKEN}", "Bearer ü"):
        given = {"authorization": wrong.encode()}
        assert client.get("/api/models", headers=given).status_code == 401, wrong
    link = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    cookie = link.headers["set-cookie"]
    assert link.status_code == 303
    assert "HttpOnly" in cookie
    assert TOKEN not in cookie
    assert link.headers["location"] == "/"
    assert client.get("/api/models").status_code == 200  # by the cookie
    client.cookies.clear()
    client.cookies.set("noisespace_token", TOKEN)  # the token itself is no cookie of ours
    assert client.get("/api/models").status_code == 401


def test_a_link_with_the_token_counts_beside_an_old_cookie(engine):
    client = client_of(engine, SHARED)
    client.cookies.set("noisespace_token", "of another time")
    link = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert link.status_code == 303
    wrong = client.get("/", params={"token": "no"}, follow_redirects=False)
    assert wrong.status_code == 401


def test_who_guesses_behind_a_proxy_does_not_shut_others_out(engine):
    client = client_of(engine, SHARED)
    client.get("/", params={"token": TOKEN}, follow_redirects=False)  # now there is a cookie
    bad = {"authorization": "Bearer wrong"}
    stranger = TestClient(client.app, base_url="http://photos.example")
    while stranger.get("/api/models", headers=bad).status_code != 429:
        pass
    assert client.get("/api/models").status_code == 200
    stranger.cookies.set("noisespace_token", hashlib.sha256(TOKEN.encode()).hexdigest())
    assert stranger.get("/api/models").status_code == 429


def test_a_link_with_the_token_leaves_the_address_bar_whoever_has_the_cookie(engine):
    client = client_of(engine, SHARED)
    for _ in range(2):  # the second time with the cookie of the first
        link = client.get("/", params={"token": TOKEN}, follow_redirects=False)
        assert (link.status_code, link.headers["location"]) == (303, "/")
        assert "SameSite=Lax" in link.headers["set-cookie"]  # else a link on another site fails
    assert client.get("/api/models", params={"token": "no"}).status_code == 200  # by the cookie


def test_guesses_from_many_addresses_are_bounded_too():
    now = [0.0]
    failures = Failures(most=20, clock=lambda: now[0], together=50)
    for k in range(50):
        assert not failures.too_many("somebody else")
        failures.add(f"192.0.2.{k}")
    assert failures.too_many("somebody else")
    now[0] = 61
    assert not failures.too_many("somebody else")


def test_behind_a_proxy_with_a_token_each_is_somebody(engine):
    """The server itself listens to this machine alone then."""
    client = client_of(engine, Access("127.0.0.1", ("photos.example",), TOKEN))
    head = {"authorization": f"Bearer {TOKEN}"}
    body = {"image": text_of(picture()), **WORK, "targets": [TARGET]}
    job = client.post("/api/edit", json=body, headers=head)
    assert "secure" not in job.headers["set-cookie"].lower()
    assert len(client.get("/api/jobs", headers=head).json()) == 1
    client.cookies.clear()
    assert client.get("/api/jobs", headers=head).json() == []
    client.cookies.clear()
    safe = client.get("https://photos.example/api/jobs", headers=head)
    assert "secure" in safe.headers["set-cookie"].lower()


def test_the_description_says_how_one_is_known(engine):
    def described(access):
        head = {"authorization": f"Bearer {TOKEN}"}
        return client_of(engine, access).get("/api/openapi.json", headers=head).json()

    schema = described(SHARED)
    schemes = schema["components"]["securitySchemes"]
    assert {one["scheme"] for one in schemes.values()} == {"bearer", "basic"}
    assert schema["security"] == [{name: []} for name in schemes]
    assert schema["paths"]["/healthz"]["get"]["security"] == []
    (session,) = [
        one for one in schema["paths"]["/api/edit"]["post"]["parameters"] if one["in"] == "header"
    ]
    assert (session["name"], session["required"]) == ("X-Session", False)
    assert session["schema"]["minLength"] == 16
    assert "security" not in described(None)


def test_pictures_of_one_request_are_bounded_in_sum_before_any_is_decoded(model, monkeypatch):
    strokes = np.zeros((40, 40, 4), np.uint8)
    strokes[:16] = 255
    paint = {"strokes": text_of(strokes), "strength": 0.1}
    image = {"image": text_of(picture(size=(40, 40))), "mask_image": text_of(strokes[..., :3])}
    for pixels, status in (2000, 202), (1600, 400):
        with Engine({"tiny": model}, Limits(pixels=pixels)) as engine:
            if status == 400:
                monkeypatch.setattr("noisespace.web.posted.picture_of", None)  # is not called
            answer = edit(client_of(engine), **image, operations=[paint] * 5, size=32)
            assert answer.status_code == status, answer.text
    assert "in sum" in answer.json()["error"]


def test_the_browser_that_is_opened_has_a_key_for_once(engine):
    now = [0.0]
    once = Once(clock=lambda: now[0])
    client = client_of(engine, replace(SHARED, once=once))
    for late in (0, 200):
        key = {"token": once.key()}
        assert TOKEN not in key["token"]
        now[0] += late
        link = client.get("/", params=key, follow_redirects=False)
        assert link.status_code == (401 if late else 303)
        client.cookies.clear()
        assert client.get("/", params=key, follow_redirects=False).status_code == 401
    assert client.get("/", params={"token": ""}, follow_redirects=False).status_code == 401


def test_guessing_is_slow(engine):
    client = client_of(engine, SHARED)
    bad, good = ({"authorization": f"Bearer {t}"} for t in ("wrong", TOKEN))
    seen = [client.get("/api/models", headers=bad).status_code for _ in range(25)]
    assert seen[:20] == [401] * 20
    assert seen[20:] == [429] * 5
    assert client.get("/api/models", headers=good).status_code == 429  # no oracle either


def test_each_browser_of_a_shared_server_is_somebody(engine):
    client = client_of(engine, SHARED)
    head = {"authorization": f"Bearer {TOKEN}"}
    body = {"image": text_of(picture()), **WORK, "targets": [TARGET]}
    job = client.post("/api/edit", json=body, headers=head)
    assert "noisespace_session" in job.headers["set-cookie"]
    assert len(client.get("/api/jobs", headers=head).json()) == 1
    client.cookies.clear()
    assert client.get("/api/jobs", headers=head).json() == []


@pytest.mark.parametrize(
    ("access", "message"),
    [
        (Access("0.0.0.0"), "--token"),
        (Access("192.168.1.2"), "--token"),
        (Access("photos.example"), "--token"),
        (Access("0.0.0.0", token="short"), "8 characters"),
        (Access(token="ü" * 10), "ASCII"),
    ],
)
def test_it_does_not_serve_others_without_a_token(engine, access, message):
    with pytest.raises(InputError, match=message):
        create_app(engine, access)
