"""Maps the folder ``targets/`` to the import package ``edgekit.targets``."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(
            include=["edgekit", "edgekit.*"], exclude=["edgekit.targets", "edgekit.targets.*"]
        ),
        "edgekit.targets",
        *(f"edgekit.targets.{name}" for name in find_packages("targets")),
    ],
    package_dir={"edgekit": "edgekit", "edgekit.targets": "targets"},
)
