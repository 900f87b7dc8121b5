"""Batch jobs: every row of a manifest edited, on one machine or on Ray, safe against any stop."""
