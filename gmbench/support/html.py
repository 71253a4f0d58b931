"""One self-contained page: text that cannot be taken for markup, tables, figures with words beside them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #57606a; --line: #d0d7de; --soft: #f3f5f7;
  --heat: 0, 92, 169; --on-heat: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9aa4af; --line: #30363d;
  --soft: #161b22; --heat: 88, 166, 255; --on-heat: #06101c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
p, figcaption { max-width: 46rem; }
.faint, figcaption { color: var(--faint); font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal; }
td.long { overflow-wrap: anywhere; min-width: 14rem; }
td.number, th.number { text-align: right; }
table.confusion th, table.confusion td { padding: .15rem .3rem; font-size: .8rem; text-align: center; border: 0; }
table.confusion th[scope=row] { text-align: right; }
table.confusion thead th { writing-mode: vertical-rl; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
img.pixels { image-rendering: pixelated; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; list-style: none; }
.tiles li { width: 8.2rem; font-size: .82rem; line-height: 1.35; }
.tiles img { width: 100%; display: block; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 0 2rem; }
code, pre { font: .88rem/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .7rem .9rem; border-radius: 4px; overflow-x: auto; white-space: pre-wrap; }
a { color: inherit; }
"""


LONG = 40
"""Cells with more letters may break anywhere."""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page. `parts` are markup; everything that a user or a record says went through `text` before."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{text(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """A value as text in one line: nothing in it is markup."""
    return escape(" ".join(str(value).split()))


def heading(words: str, level: int = 2) -> str:
    return f"<h{level}>{text(words)}</h{level}>"


def paragraph(words: str, faint: bool = False) -> str:
    return f'<p class="faint">{text(words)}</p>' if faint else f"<p>{text(words)}</p>"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """A table; `numbers`: columns that are set right."""

    def cell(tag: str, column: int, value: object, scope: str = "") -> str:
        kind = ' class="number"' if column in numbers else ' class="long"' if len(str(value)) > LONG else ""
        return f"<{tag}{scope}{kind}>{text(value)}</{tag}>"

    head = "".join(cell("th", column, value, ' scope="col"') for column, value in enumerate(headers))
    lines = ("".join(cell("td", column, value) for column, value in enumerate(row)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    inner = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide" tabindex="0"><table>\n{inner}</table></div>'


def heat_table(names: Sequence[str], shares: np.ndarray, counts: np.ndarray) -> str:
    """A square table of counts (n, n), row by true source, coloured by `shares` (n, n) in [0, 1]."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in names)
    rows = []
    for name, of_row, of_counts in zip(names, shares, counts, strict=True):
        cells = "".join(_heated(share, int(n)) for share, n in zip(of_row, of_counts, strict=True))
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return (
        '<div class="wide" tabindex="0"><table class="confusion">\n'
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _heated(share: float, n: int) -> str:
    ink = "; color: var(--on-heat)" if share > 0.55 else ""
    return f'<td style="background: rgba(var(--heat), {share:.2f}){ink}">{n or ""}</td>'


def figure(source: str, alternative: str, caption: str = "", pixels: bool = False) -> str:
    """A picture with what it shows in words, for those who cannot see it, and a caption."""
    kind = ' class="pixels"' if pixels else ""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img{kind} src="{source}" alt="{text(alternative)}">{below}</figure>'


def side_by_side(parts: Iterable[str]) -> str:
    """Parts beside each other where there is room."""
    return '<div class="side">\n' + "\n".join(parts) + "\n</div>"


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Small pictures in a row: source, alternative text, and a line below each."""
    shown = "\n".join(
        f'<li><img class="pixels" src="{source}" alt="{text(alternative)}">{text(line)}</li>'
        for source, alternative, line in items
    )
    return f'<ul class="tiles">\n{shown}\n</ul>'


def png(pixels: np.ndarray) -> str:
    """uint8 (height, width, 3) as a picture that needs no other file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def svg(drawing: bytes) -> str:
    """A drawing as a picture that needs no other file."""
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}"
