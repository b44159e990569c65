"""Manifests in the formats of other programs."""
