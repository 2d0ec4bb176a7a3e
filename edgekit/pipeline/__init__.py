"""Planning and running stages."""
