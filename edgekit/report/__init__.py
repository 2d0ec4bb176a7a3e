"""The report of a run, as JSON, Markdown and HTML."""
