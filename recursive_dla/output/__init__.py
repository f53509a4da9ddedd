"""What leaves the package."""
