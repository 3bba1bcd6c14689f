"""Files for users to begin with."""
