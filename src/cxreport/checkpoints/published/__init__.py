"""Name maps of published weights, one file a system."""
