"""What stands between a call of the API and the loop."""
