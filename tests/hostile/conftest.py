"""How many examples the property-based tests draw."""

from hypothesis import HealthCheck, settings

# The same examples every time: what fails is to be found again.
_PLAIN = settings(
  max_examples=60,
  deadline=None,
  derandomize=True,
  database=None,
  suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ordinary", _PLAIN)
# `make test-hostile`
settings.register_profile("thorough", _PLAIN, max_examples=2000)
settings.load_profile("ordinary")
