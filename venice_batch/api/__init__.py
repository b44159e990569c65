"""The Venice image API over HTTP."""
