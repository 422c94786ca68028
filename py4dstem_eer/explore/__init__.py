"""The interactive panel: a state object without widgets, and a thin view of it in the browser.

`settings`, `coefficients` and `explorer` hold what is tried and the image it gives; `session` turns
the page's messages into answers; `panel` is the widget and `static` its front end; `app` serves it
as a page of its own.

The view is an anywidget with a few hundred lines of plain JavaScript that are shipped in the
package: no build step, nothing fetched from the internet, and one text for JupyterLab, Notebook,
VS Code and Voilà. The kernel sends the image as 8-bit levels and the page colours them. Time in the
kernel to turn a phase of 512×512 (1024×1024) positions into what travels, on one busy core:

====================================  ================  ================
levels as they are (this)                1 ms, 262 kB      3 ms, 1.0 MB
levels as JPEG, quality 90               1 ms, 131 kB      9 ms, 0.5 MB
levels as PNG, fastest                  15 ms, 221 kB    215 ms, 0.9 MB
ipywidgets.Image, coloured PNG         388 ms, 738 kB   1392 ms, 2.9 MB
ipympl: draw the figure, PNG           558 ms, 589 kB    533 ms, 0.6 MB
====================================  ================  ================

Phases are noisy, so lossless compression saves a seventh and costs ten times as much as it saves on
any network from 40 Mbit/s on; JPEG would halve the bytes, but the page reads values off the levels.

The page has one message under way at a time; what is turned meanwhile merges into the next one.
"""

from .. import bridge  # noqa: F401  before any module here, see registration.py
