"""The report of a check in the forms that continuous integration reads."""
