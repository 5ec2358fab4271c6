"""The evaluation report as one HTML file, on a screen, on a telephone and on paper: words and tables are the report's.

What was simulated stands in the title, in a banner, and at the head of every printed page. A wide table scrolls by
itself, and no heading is torn from its table.
"""

from __future__ import annotations

import html
from typing import Any

from model.evaluation.appraisal_report import banners, bar_lines, introduction, tables


def page(figures: dict[str, Any], plots: dict[str, str]) -> str:
    """The whole report as one HTML file without outside references; `plots` holds SVG by caption."""
    body = [f"<h1>Evaluation of {_e(figures['bundle']['name'])}</h1>"]
    said_first = banners(figures)
    body += [f'<p class="banner">{text}</p>' for text in said_first]
    body += [f"<p>{_e(text)}</p>" for text in introduction(figures) if text]
    body += ['<div class="plots">', *(_plot(caption, svg) for caption, svg in plots.items()), "</div>"]
    for heading, titles, rows in tables(figures):
        head = "".join(f"<th>{_e(t)}</th>" for t in titles)
        lines = "".join("<tr>" + "".join(f"<td>{_e(c)}</td>" for c in row) + "</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
        body.append(f'<h2>{_e(heading)}</h2><div class="wide">{table}</div>')
    body += ["<h2>Bars</h2><ul>", *(f"<li>{_e(line)}</li>" for line in bar_lines(figures)), "</ul>"]
    title = ". ".join([f"Evaluation of {_e(figures['bundle']['name'])}", *said_first])
    return _FRAME.format(title=title, on_every_page=". ".join(said_first), body="\n".join(body))


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b1b1b; }}
.banner {{ border: 2px solid #1b1b1b; padding: .4rem .8rem; font-weight: 600; }}
.wide {{ overflow-x: auto; margin: .5rem 0 1.5rem; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd; min-width: 5rem;
  font-variant-numeric: tabular-nums; vertical-align: top; }}
.plots {{ display: flex; flex-wrap: wrap; gap: 1rem; }} figure {{ margin: 0; width: 19rem; }}
figure svg {{ width: 100%; height: auto; }} figcaption {{ font-size: 13px; color: #555; }}
.on-every-page {{ display: none; }}
@media print {{
  @page {{ size: landscape; margin: 12mm; }}
  body {{ max-width: none; margin: 0; padding: 0; font-size: 9.5pt; }}
  .report {{ display: table; width: 100%; }} .content {{ display: table-row-group; }}
  .on-every-page {{ display: table-header-group; break-inside: avoid; font-weight: 600; }}
  .wide {{ overflow: visible; }} th, td {{ padding-right: .5rem; min-width: 0; }}
  h1, h2 {{ break-after: avoid; }} tr, figure {{ break-inside: avoid; }}
}}
</style></head><body>
<div class="report"><div class="on-every-page" aria-hidden="true">{on_every_page}</div><div class="content">
{body}
</div></div>
</body></html>
"""


def _plot(caption: str, svg: str) -> str:
    return f"<figure>{svg}<figcaption>{_e(caption)}</figcaption></figure>"


def _e(text: str) -> str:
    return html.escape(text)
