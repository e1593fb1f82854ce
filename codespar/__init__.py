"""codespar: the engine between a software agent and the money."""

__version__ = "0.1.0"
