"""The output folder: images, manifest, summary."""
