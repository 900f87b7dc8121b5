"""Files that attack whoever opens them, and those that are no pictures."""

import struct
import zlib

from watched import file_of, picture

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n%%EOF"


def png_header(width, height):
    """A PNG that says it is that large, with almost nothing in it."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data


def text_bomb():
    """A PNG whose compressed text unfolds to 300 MB."""
    data = b"comment\0\0" + zlib.compress(b"a" * 300_000_000, 9)
    body = b"zTXt" + data
    chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    whole = file_of(picture())
    return whole[:33] + chunk + whole[33:]
