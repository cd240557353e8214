"""How much longer than it should something may take before a test calls it too long.

A bound in a test tells apart a limit that holds from a wait for what never comes; how fast things are is measured in
``benchmarks/``. So whatever is bounded would, if it failed, take ten seconds or for ever.
"""

#: Seconds that a busy machine may add.
SLACK = 4.0
