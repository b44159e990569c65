from bucket.servers import azurite, prefix, s3rver, seaweedfs, server  # noqa: F401
