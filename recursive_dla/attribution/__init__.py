"""One level."""
