"""The page on the server: gradio within our application, behind its guard."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from noisespace.web.engine import Engine


def mount_page(app: FastAPI, engine: Engine) -> Any:
    """Mounts the page at ``/``; it has no files to give but its own, and reports to nobody.

    ``GRADIO_ANALYTICS_ENABLED`` must be "False" before gradio is imported, which happens here.
    """
    import gradio

    from noisespace.web.page import build, look

    return gradio.mount_gradio_app(
        app,
        build(engine, lifetime=int(engine.limits.lifetime)),
        path="/",
        allowed_paths=[],
        max_file_size=engine.limits.upload_bytes,
        ssr_mode=False,
        footer_links=[],
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        **look(engine.limits.upload_bytes),
    )
