"""Lets ``python -m edgekit`` stand for the command ``edgekit``."""

from edgekit.cli.main import main

main()
