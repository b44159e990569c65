"""Reports on a run or a manifest, for people and for other programs."""
