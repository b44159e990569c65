"""The worker pool: jobs in, outcomes out."""
