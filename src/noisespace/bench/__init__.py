"""The benchmark: data sets, metrics, statistics, and one row an image and method."""
