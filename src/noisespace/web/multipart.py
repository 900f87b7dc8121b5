"""Forms with files as browsers post them (multipart/form-data), taken apart within bounds.

By the parser that gradio uses itself, so that both see the same parts in a body.
"""

from __future__ import annotations

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from noisespace.errors import InputError

MOST_NAME = 200  # characters of a field's and a file's name


@dataclass(frozen=True)
class FormPart:
    """One part of a form. ``file``: the name that its file has, None for a plain field."""

    name: str
    file: str | None
    data: bytes


def parts_of(body: bytes, content_type: str, most: int) -> list[FormPart]:
    """The parts of a form, at most ``most``. Raises InputError for any that is damaged."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind.lower() != b"multipart/form-data" or not boundary:
        raise InputError("expected a form (multipart/form-data with a boundary)")
    reader = _Reader(most)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # pyright: ignore[reportArgumentType]
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("the form is damaged: send it again") from None
    if not reader.ended:
        raise InputError("the form is cut off: send it again")
    return reader.parts


class _Reader:
    """What the parser tells, as parts."""

    def __init__(self, most: int) -> None:
        self.parts: list[FormPart] = []
        self.ended = False
        self._most = most
        self._field = self._value = b""
        self._about = b""
        self._data = bytearray()

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value")
        names += ("header_end", "end")
        return {f"on_{name}": getattr(self, f"_{name}") for name in names}

    def _part_begin(self) -> None:
        if len(self.parts) >= self._most:
            raise InputError(f"the form has more than {self._most} parts, the limit here")
        self._about, self._data = b"", bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._about = self._value
        self._field = self._value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _part_end(self) -> None:
        _, options = parse_options_header(self._about)
        names = [options.get(key) for key in (b"name", b"filename")]
        if names[0] is None or any(len(one or b"") > MOST_NAME for one in names):
            raise InputError("a part of the form has no name, or one that is too long")
        name, file = (None if one is None else one.decode("utf-8", "replace") for one in names)
        self.parts.append(FormPart(str(name), file, bytes(self._data)))

    def _end(self) -> None:
        self.ended = True
