"""Deployment targets; each folder holds all there is to know of one."""
