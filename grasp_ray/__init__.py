"""grasp_ray: find the training photos that make a severity model wrong."""

__version__ = "0.1.0"
