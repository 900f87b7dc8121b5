"""Edits a picture on a server (`noisespace app`): PICTURE SOURCE TARGET OUT.png [URL].

NOISESPACE_TOKEN is shown where it is set. Needs nothing but Python.
"""

import json
import os
import secrets
import sys
import urllib.request
from pathlib import Path

picture, source, target, out, *rest = sys.argv[1:]
server = rest[0].rstrip("/") if rest else "http://127.0.0.1:7860"
headers = {"X-Session": secrets.token_hex(16)}  # whose the jobs are: nobody else sees them
if token := os.environ.get("NOISESPACE_TOKEN"):
    headers["Authorization"] = f"Bearer {token}"


def call(path, data=None, kind="application/json", method=None):
    about = {**headers, "Content-Type": kind}
    request = urllib.request.Request(server + path, data, about, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


sent = json.loads(call("/api/uploads", Path(picture).read_bytes(), "application/octet-stream"))
wish = {"upload": sent["upload"], "source": source, "targets": [target]}
job = json.loads(call("/api/edit", json.dumps(wish).encode()))
while job["state"] in ("waiting", "running"):
    print(f"{job['state']} {job['stage']} {job['index']}/{job['total']}", file=sys.stderr)
    job = json.loads(call(f"/api/jobs/{job['id']}?wait=2"))
if job["state"] != "done":
    sys.exit(f"{job['state']}: {job['error']}")
Path(out).write_bytes(call(job["result"]["images"][0]["url"]))
call(f"/api/jobs/{job['id']}", method="DELETE")  # the server forgets it
print(out)
