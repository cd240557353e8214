"""The version of this package, for whoever says it to a vendor."""

__version__ = "0.1.0"
