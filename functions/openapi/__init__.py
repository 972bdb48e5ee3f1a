"""The description of all routes for machines: OpenAPI 3.1, at `/openapi.json`."""
