"""A server with the page on it: prints its address and answers until its input ends."""

import os
import sys
import threading

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

import fastapi
import gradio as gr
import torch
import uvicorn

import noisespace as ns
from noisespace.web.engine import Engine
from noisespace.web.page import build, look


def main() -> None:
    torch.set_num_threads(1)
    engine = Engine({"scenes": ns.load("scenes")})
    app = gr.mount_gradio_app(
        fastapi.FastAPI(), build(engine), "/", allowed_paths=[], max_file_size="32mb",
        ssr_mode=False, **look(),
    )  # fmt: skip
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="warning"))

    def watch() -> None:
        sys.stdin.read()
        server.should_exit = True

    started = server.startup

    async def startup(sockets=None) -> None:
        await started(sockets)
        port = server.servers[0].sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)  # noqa: T201

    server.startup = startup
    threading.Thread(target=watch, daemon=True).start()
    server.run()
    engine.close()


if __name__ == "__main__":
    main()
