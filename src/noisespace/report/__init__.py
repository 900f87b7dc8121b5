"""One report of everything that the project claims: measured anew, judged by rule, on one page."""
