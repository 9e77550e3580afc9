"""A report as data, and as Markdown; `page` makes the HTML of the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from train.report.photos import Photo, sheet_png
from train.tables import markdown_table


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Picture:
    file: str  # its path beside the report
    alt: str
    png: bytes


@dataclass(frozen=True)
class Sheet:
    """Lines of photographs; the page has each of them, Markdown the `picture` of them all."""

    picture: Picture
    lines: Sequence[Sequence[Photo]]

    @classmethod
    def of(cls, file: str, alt: str, lines: Sequence[Sequence[Photo]]) -> Sheet:
        return cls(Picture(file, alt, sheet_png(lines)), lines)


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1  # so many columns at the left hold words, the others numbers
    summary: str = ""  # of a long table, which the page shows folded under these words
    sheet: Sheet | None = None  # with a line for each row, which the page shows at its right


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


Block = Text | Picture | Sheet | Table | Section


@dataclass(frozen=True)
class Report:
    title: str
    sections: Sequence[Section]


def pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    """All that Markdown shows, in order."""
    for block in blocks:
        if isinstance(block, Section):
            yield from pictures(block.blocks)
        elif isinstance(block, Picture):
            yield block
        elif isinstance(block, Sheet):
            yield block.picture
        elif isinstance(block, Table) and block.sheet:
            yield block.sheet.picture


def to_markdown(report: Report) -> str:
    parts = [f"# {escaped(report.title)}"]
    for section in report.sections:
        parts += _section(section, 2)
    return "\n\n".join(parts) + "\n"


def _section(section: Section, level: int) -> list[str]:
    parts = [f"{'#' * level} {escaped(section.title)}"]
    for block in section.blocks:
        parts += _section(block, level + 1) if isinstance(block, Section) else [_block(block)]
    return parts


def _block(block: Text | Picture | Sheet | Table) -> str:
    match block:
        case Text():
            return escaped(block.text)
        case Picture():
            return f"![{escaped(block.alt)}]({block.file})"
        case Sheet():
            return _block(block.picture)
        case Table():
            rows = [tuple(map(escaped, row)) for row in block.rows]
            table = markdown_table(tuple(map(escaped, block.columns)), rows, block.words)
            return f"{table}\n\n{_block(block.sheet)}" if block.sheet else table


def escaped(text: str) -> str:
    """Plain text as Markdown: what would be a mark or HTML stays what it is."""
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", " ".join(text.split()))
