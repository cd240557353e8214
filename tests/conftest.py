"""How Hypothesis looks for counterexamples here."""

from hypothesis import HealthCheck, settings

# A busy machine is no counterexample.
settings.register_profile("unitrack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("unitrack"), max_examples=3_000)
settings.load_profile("unitrack")
