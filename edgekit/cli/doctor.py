"""``edgekit doctor``: is this machine ready?"""

from __future__ import annotations

from edgekit.cli.options import AsJson


def command(
    as_json: AsJson = False,
) -> None:
    """Check Python, the tools and their versions, targets, data and processor.

    Ends with exit code 5 if something essential is missing.
    """
    from edgekit.cli.checks import all_checks
    from edgekit.cli.output import Column, print_json, print_table
    from edgekit.errors import MissingToolError

    checks = all_checks()
    if as_json:
        print_json([check.as_json() for check in checks])
    else:
        rows = [(check.state, check.part, check.found, check.remedy) for check in checks]
        columns = (Column("State"), Column("Part"), Column("Found"), Column("What to do"))
        print_table(columns, rows)
    missing = [check.part for check in checks if check.state == "missing"]
    if missing:
        raise MissingToolError(
            f"{len(missing)} essential {'part is' if len(missing) == 1 else 'parts are'} missing "
            f"or of the wrong version: {', '.join(missing)}. The table says what to do."
        )
