"""Pictures outside the models: decoding, sizes, records inside PNG files, sheets."""
