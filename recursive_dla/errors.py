"""The errors this package raises for input it cannot give honest numbers for.

All derive from :class:`InputError`, so one ``except`` catches whatever a user can put right. Messages say what was
expected, what came, and what to do.
"""


class InputError(ValueError):
    """Something given by the user cannot be used as it is."""


class CacheError(InputError):
    """A cache lacks activations, or does not belong to the model it came with."""


class UnsupportedModelError(InputError):
    """The model has a part whose contribution this package cannot account for exactly."""


class DemoModelError(InputError):
    """The demo model could not be fetched or converted."""
