"""What every kind of index offers, the table of the kinds, and their parameters as text."""
