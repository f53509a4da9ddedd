from recursive_dla.output.figures import *  # noqa: F403
from recursive_dla.output.figures import __all__, __doc__  # noqa: F401
