"""The report as data; `page` renders it as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from train.report.photos import Photo


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Picture:
    alt: str
    png: bytes


@dataclass(frozen=True)
class Photos:
    lines: Sequence[Sequence[Photo]]


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1  # columns of text at the left; the others are numbers
    summary: str = ""  # if given, the table is folded under it
    photos: Sequence[Sequence[Photo]] | None = None  # one line a row, shown at its right


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


Block = Text | Picture | Photos | Table | Section


@dataclass(frozen=True)
class Report:
    title: str
    sections: Sequence[Section]
