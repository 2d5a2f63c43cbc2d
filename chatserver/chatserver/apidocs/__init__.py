"""The published API documents: OpenAPI, AsyncAPI, and a page made from both."""
