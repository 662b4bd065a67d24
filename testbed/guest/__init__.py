"""A VM to a session that runs things and notices trouble."""
