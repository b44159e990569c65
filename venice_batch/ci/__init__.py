"""What continuous-integration systems are told of a run."""
