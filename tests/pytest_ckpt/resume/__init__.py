"""`check_resume`."""
