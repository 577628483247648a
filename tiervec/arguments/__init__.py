"""What callers write: numbers, names and sizes, checked and read."""
