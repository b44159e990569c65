"""A bucket of an object store as the output folder: the bucket is the truth, a local folder a copy."""
