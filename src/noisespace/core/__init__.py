"""The loop and its four contracts; torch only."""
