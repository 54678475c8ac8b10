"""How a platform names things: the model of a profile, its files, and the profiles that are built in."""
