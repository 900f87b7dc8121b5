"""The web app: a page and a JSON API over one engine (docs/app.md)."""
