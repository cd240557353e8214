"""The command line: ``unitrack check``, ``track``, ``import``, …; needs the extra ``cli``."""
