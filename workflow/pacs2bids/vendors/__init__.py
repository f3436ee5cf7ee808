"""What private elements mean: one module a vendor, each ``claims(header)`` and ``facts(header)``."""
