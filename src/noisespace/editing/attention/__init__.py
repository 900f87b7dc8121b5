"""What editors share that look at attention."""
