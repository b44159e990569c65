"""Programs that make what is committed but written by no hand."""
