"""The endpoints of the HTTP API, a module for each part: see docs/http.md and /api/openapi.json."""
