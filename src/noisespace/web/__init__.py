"""The web application: an engine that runs jobs one after another, an HTTP API and a page."""
