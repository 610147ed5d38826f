"""A study as one page that needs nothing else, and as Markdown: the answer first, then the numbers.

page = StudyPage("Which schedule?", "schedules", answer=["Cosine is best."], tables=[Table(…)], …)
write_study(folder / "report", page)                   # index.html and finding.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import lib
from lib.files import make_folder, write_text
from lib.report.card import plain

PAGE, MARKDOWN = "index.html", "finding.md"


@dataclass(frozen=True)
class Table:
    """Rows of text under their columns; all but the first column are set right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """An inline SVG; `names` explain its colours, in their order."""

    title: str
    svg: str
    names: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True)
class StudyPage:
    """What a page shows; whatever is empty is left out of it."""

    question: str
    name: str
    answer: Sequence[str]
    facts: Mapping[str, str]
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    trials: Table | None = None
    method: Sequence[str] = ()
    command: str = ""
    next_steps: Sequence[str] = field(default_factory=list)


def write_study(folder: Path, page: StudyPage) -> None:
    """Write both forms of a page, each whole or not at all."""
    make_folder(folder)
    write_text(folder / PAGE, render_study(page))
    write_text(folder / MARKDOWN, study_markdown(page))


def render_study(page: StudyPage) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # figures come escaped
    return environment.get_template("study.html").render(page=page, version=lib.__version__)


def study_markdown(page: StudyPage) -> str:
    """The page as Markdown, without its figures."""
    parts = [f"# {plain(page.question)}", "\n".join(f"- {plain(line)}" for line in page.answer)]
    parts += [_markdown(table) for table in page.tables]
    parts.append("\n".join(f"- {plain(name)}: {plain(value)}" for name, value in page.facts.items()))
    if page.method:
        parts.append("## How it was measured\n\n" + " ".join(plain(line) for line in page.method))
    if page.trials is not None:
        parts.append(_markdown(page.trials))
    if page.command:
        parts.append(f"```sh\n{page.command}\n```")
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    lines = [
        f"| {' | '.join(map(plain, table.columns))} |",
        f"|---|{'--:|' * (len(table.columns) - 1)}",
        *(f"| {' | '.join(map(plain, row))} |" for row in table.rows),
    ]
    note = f"\n\n{plain(table.note)}" if table.note else ""
    return f"## {plain(table.title)}\n\n" + "\n".join(lines) + note
