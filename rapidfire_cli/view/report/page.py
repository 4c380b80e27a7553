"""The report: the web page with an experiment's data in one HTML file, without a server or a network.

The page's program finds in the file what it would ask a server for, by the same addresses. A
Content-Security-Policy names the program by its hash and allows nothing else, so that no name or log in the
data can do anything, and nothing is loaded from anywhere.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass

from rapidfire_cli.terms import Plain
from rapidfire_cli.view.page.bundle import Bundle

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="rapidfire" content="report">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<div id="page"></div>
<noscript>This report needs JavaScript.</noscript>
<script type="application/json" id="report">{data}</script>
<script>{script}</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that the page would ask a server for."""

    snapshot: Mapping[str, Plain]
    series: Mapping[str, bytes]  # packed, by `split.name`
    times: bytes  # packed
    parts: Mapping[str, Plain]  # documents by their address below /api/


def report_page(held: Contents, bundle: Bundle) -> str:
    """The HTML file."""
    data = {
        "snapshot": {**held.snapshot},
        "series": {name: _text(packed) for name, packed in held.series.items()},
        "times": _text(held.times),
        "parts": {**held.parts},
    }
    script, style = bundle.script.decode(), bundle.style.decode()
    return PAGE.format(
        policy=f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        title=html.escape(f"{held.snapshot['experiment']} · rapidfire"),
        style=style,
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )


def _text(packed: bytes) -> str:
    return base64.b64encode(packed).decode()


def _hash(text: str) -> str:
    """How a policy names an inline script or style (https://www.w3.org/TR/CSP3/#match-element-to-source-list)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
