"""The operator's console: pages rendered on the server, for whoever is on call at 3 a.m., on a phone too.

- ``pages``: what pages share: the visitor, forms, rendering, errors
- ``login``: the session
- ``now``, ``campaigns``, ``fix``, ``journal``: the way of an incident: notice, why, decide, fix, undo
- ``incidents``, ``plan``, ``queue``, ``credits``: what is open, what a sweep would do, what waits, what is held
- ``platforms``, ``tokens``: what is configured and what the doctor finds; who may come in, and what they tried
- ``templates``, ``static``: HTML, style and the few scripts; htmx and uPlot are vendored, there is no build step

Everything that matters works without JavaScript: scripts only refresh what is shown, write times in the reader's zone
and draw curves. No script or style stands in a page: the Content-Security-Policy forbids it.
"""
