"""What a run or a manifest says, for people and for other programs."""
