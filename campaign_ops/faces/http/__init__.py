"""The HTTP service, ``campaign-ops serve``: an API for programs and a console for people. Works while Dagster is down.

The frame:

- ``app``: puts the application together: routes, errors, protection; ``server``: how it is served
- ``service``: what requests share: settings, pooled platforms, the gate, running sweeps
- ``pool``: a bounded number of connected platforms
- ``gate``: who asks, and what they may do where: tokens, sessions, a trusted proxy
- ``protection``: middleware: limits, security headers, requests from other sites
- ``problems``: every error as ``application/problem+json``
- ``cursors``, ``etags``: lists that go on, and answers that have not changed
- ``health``: the pulse of every platform; ``shapes``: the documents that only the API has
- ``attempts``: a request for a change is carried out once, and is in the audit
- ``fixes``, ``sweeps``: manual fixes and sweeps as requests ask for them

``api`` has the endpoints, ``console`` the pages.

Add here what reads requests and writes answers. Not here: decisions, statements and anything that another face needs.
"""
