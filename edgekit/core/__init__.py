"""Data and contracts shared by every part: no behaviour of a stage or target lives here."""
